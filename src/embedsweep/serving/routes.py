"""What the service answers: embeddings, and the models it has."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole, distinct_roles
from embedsweep.serving.errors import ApiError
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import owner_of
from embedsweep.serving.limits import Limits
from embedsweep.serving.roles import role_of, split_role
from embedsweep.serving.schemas import (
    Embedding,
    EmbeddingsReply,
    EmbeddingsRequest,
    Encoding,
    ModelCard,
    ModelList,
    Usage,
)
from embedsweep.serving.served import Served, Shelf, fault_of, token_count

EMBEDDINGS = "/v1/embeddings"
CLIENT_LEFT = 499
"""Status of a reply that nobody reads."""

NAMED_MODELS = 10
"""So many of the models served are named to who asks for another."""


def embeddings_routes(
    shelf: Shelf, gate: Gate, limits: Limits, default_role: TextRole | None = None
) -> APIRouter:
    router = APIRouter()

    @router.post(EMBEDDINGS)
    async def embed(body: EmbeddingsRequest, request: Request) -> Response:
        limits.check(body.texts, body.params)
        # Looked up once: whatever the alias does from here on, one version answers.
        served, by_id = await run_in_threadpool(find, shelf, body.model, owner_of(request))
        embedder = served.embedder
        if embedder is None:
            embedder = await gate.prepare(served.open)
        role = role_of(body.input_type, by_id, default_role, embedder)
        _check_dimensions(body.dimensions, served, embedder)
        async with gate.turn():
            if await request.is_disconnected():
                return Response(status_code=CLIENT_LEFT)
            content = await gate.compute(lambda: _embeddings(served, embedder, role, body))
        version = {} if served.version is None else {"x-model-version": str(served.version)}
        return Response(content, media_type="application/json", headers=version)

    return router


def models_routes(shelf: Shelf, gate: Gate, default_role: TextRole | None = None) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models", response_model_exclude_none=True)
    def models(request: Request) -> ModelList:
        listings = shelf.listings(owner_of(request))
        return ModelList(data=[_card(served, default_role) for served in listings])

    @router.get("/v1/models/{model_id:path}", response_model_exclude_none=True)
    async def model(model_id: str, request: Request) -> ModelCard:
        """A client may read here whether it has to name roles, which only the open model tells."""
        served, _ = await run_in_threadpool(find, shelf, model_id, owner_of(request))
        if served.embedder is None:
            await gate.prepare(served.open)
        return _card(served, default_role)

    return router


def find(shelf: Shelf, model_id: str, owner: str) -> tuple[Served, TextRole | None]:
    """Return the model that answers to an id, and the role in the id's suffix.

    Raises:
        ApiError: 404 if no model does.
    """
    name, role = split_role(model_id)
    served = shelf.find(model_id, owner)
    if served is not None:
        # The colon belongs to the id, as in those of fine-tuned models.
        return served, None
    served = shelf.find(name, owner)
    if served is None:
        ids = [listing.id for listing in shelf.listings(owner)]
        more = f" and {len(ids) - NAMED_MODELS} more" if len(ids) > NAMED_MODELS else ""
        named = ", ".join(ids[:NAMED_MODELS])
        message = f"model {model_id[:200]!r} is not served here; served are: {named}{more}"
        raise ApiError(404, "model_not_found", message, "model")
    return served, role


def _check_dimensions(dimensions: object, served: Served, embedder: Embedder) -> None:
    allowed = embedder.dimension
    if dimensions is None or (type(dimensions) is int and dimensions == allowed):
        return
    message = f"dimensions: {served.id} gives vectors of {allowed} numbers, and no others"
    raise ApiError(400, "invalid_value", message, "dimensions")


def _embeddings(
    served: Served, embedder: Embedder, role: TextRole, body: EmbeddingsRequest
) -> bytes:
    """The reply's JSON. Slow: computes the vectors and writes them out."""
    texts: Sequence[str] = body.texts
    vectors = embedder.embed(texts, role)
    fault = fault_of(vectors, len(texts), embedder.dimension)
    if fault is not None:
        # Asking again would give the same again.
        once = {"x-should-retry": "false"}
        raise ApiError(500, "embedding_not_finite", fault, headers=once)
    tokens = token_count(embedder, texts, role)
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


def _card(served: Served, default_role: TextRole | None) -> ModelCard:
    embedder = served.embedder
    roles = distinct_roles(embedder.effective_role) if embedder else []
    return ModelCard(
        id=served.id,
        created=served.created,
        version=served.version,
        dimension=None if embedder is None else embedder.dimension,
        fingerprint=served.fingerprint,
        roles=roles or None,
        default_role=default_role,
    )
