"""What the service answers: embeddings, the models it has, and how it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.serving.errors import ApiError
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import owner_of
from embedsweep.serving.limits import Limits
from embedsweep.serving.schemas import (
    Embedding,
    EmbeddingsReply,
    EmbeddingsRequest,
    Encoding,
    ModelCard,
    ModelList,
    Usage,
)
from embedsweep.serving.served import Served, Shelf, token_count
from embedsweep.serving.shelf import ModelShelf, fault_of

CLIENT_LEFT = 499
"""Status of a reply that nobody reads."""

NAMED_MODELS = 10
"""So many of the models served are named to who asks for another."""


def embeddings_routes(shelf: Shelf, gate: Gate, limits: Limits) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(body: EmbeddingsRequest, request: Request) -> Response:
        limits.check(body.texts, body.params)
        # Looked up once: whatever the alias does from here on, one version answers.
        served = await run_in_threadpool(find, shelf, body.model, owner_of(request))
        embedder = served.embedder
        if embedder is None:
            embedder = await gate.prepare(served.open)
        _check_dimensions(body.dimensions, served, embedder)
        async with gate.turn():
            if await request.is_disconnected():
                return Response(status_code=CLIENT_LEFT)
            content = await gate.compute(lambda: _embeddings(served, embedder, body))
        version = {} if served.version is None else {"x-model-version": str(served.version)}
        return Response(content, media_type="application/json", headers=version)

    return router


def models_routes(shelf: Shelf) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models", response_model_exclude_none=True)
    def models(request: Request) -> ModelList:
        return ModelList(data=[_card(served) for served in shelf.listings(owner_of(request))])

    @router.get("/v1/models/{model_id:path}", response_model_exclude_none=True)
    def model(model_id: str, request: Request) -> ModelCard:
        return _card(find(shelf, model_id, owner_of(request)))

    return router


def probe_routes(shelf: ModelShelf | None, gate: Gate) -> APIRouter:
    """Liveness and readiness; a server without a shelf of champions is ready once it listens."""
    router = APIRouter()

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """The process answers; load and a poor registry do not change that."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> Response:
        """Send requests here: some model is loaded, and the server is not shutting down."""
        models = shelf.champions() if shelf else []
        champions = {model.version.name: model.version.number for model in models}
        is_ready = (shelf is None or bool(champions)) and not gate.is_closed
        status = "ready" if is_ready else "shutting down" if gate.is_closed else "no model"
        degraded = shelf is not None and shelf.degraded
        body = {"status": status, "degraded": degraded, "champions": champions}
        return JSONResponse(body, 200 if is_ready else 503)

    return router


def find(shelf: Shelf, model_id: str, owner: str) -> Served:
    """Who answers to the id.

    Raises:
        ApiError: 404 when nobody does.
    """
    served = shelf.find(model_id, owner)
    if served is None:
        ids = [listing.id for listing in shelf.listings(owner)]
        more = f" and {len(ids) - NAMED_MODELS} more" if len(ids) > NAMED_MODELS else ""
        named = ", ".join(ids[:NAMED_MODELS])
        message = f"model {model_id[:200]!r} is not served here; served are: {named}{more}"
        raise ApiError(404, "model_not_found", message, "model")
    return served


def _check_dimensions(dimensions: object, served: Served, embedder: Embedder) -> None:
    allowed = embedder.dimension
    if dimensions is None or (type(dimensions) is int and dimensions == allowed):
        return
    message = f"dimensions: {served.id} gives vectors of {allowed} numbers, and no others"
    raise ApiError(400, "invalid_value", message, "dimensions")


def _embeddings(served: Served, embedder: Embedder, body: EmbeddingsRequest) -> bytes:
    """The reply's JSON. Slow: computes the vectors and writes them out."""
    texts: Sequence[str] = body.texts
    vectors = embedder.embed(texts)
    fault = fault_of(vectors, len(texts), embedder.dimension)
    if fault is not None:
        # Asking again would give the same again.
        once = {"x-should-retry": "false"}
        raise ApiError(500, "embedding_not_finite", fault, headers=once)
    tokens = token_count(embedder, texts)
    reply = EmbeddingsReply(
        data=[
            Embedding(index=index, embedding=_encoded(vector, body.encoding_format))
            for index, vector in enumerate(vectors)
        ],
        model=served.id,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return reply.model_dump_json().encode()


def _encoded(vector: FloatArray, encoding: Encoding | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers


def _card(served: Served) -> ModelCard:
    embedder = served.embedder
    return ModelCard(
        id=served.id,
        created=served.created,
        version=served.version,
        dimension=None if embedder is None else embedder.dimension,
        fingerprint=served.fingerprint,
    )
