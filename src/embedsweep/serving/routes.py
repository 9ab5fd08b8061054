"""What the service answers: embeddings, the models it has, and how it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.serving.errors import ApiError
from embedsweep.serving.gate import Gate
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
from embedsweep.serving.shelf import Listing, ModelShelf, fault_of

CLIENT_LEFT = 499
"""Status of a reply that nobody reads."""


@runtime_checkable
class CountsTokens(Protocol):
    """What an embedder may offer beside the port: how many tokens it reads of the texts."""

    def count_tokens(self, texts: Sequence[str]) -> int: ...


def embeddings_routes(shelf: ModelShelf, gate: Gate, limits: Limits) -> APIRouter:
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(body: EmbeddingsRequest, request: Request) -> Response:
        limits.check(body.texts, body.params)
        # Looked up once: whatever the alias does from here on, one version answers.
        listing = _listing(shelf, body.model)
        _check_dimensions(body.dimensions, listing)
        async with gate.turn():
            if await request.is_disconnected():
                return Response(status_code=CLIENT_LEFT)
            content = await gate.compute(lambda: _embeddings(listing, body))
        version = {"x-model-version": str(listing.model.version.number)}
        return Response(content, media_type="application/json", headers=version)

    return router


def models_routes(shelf: ModelShelf) -> APIRouter:
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[_card(listing) for listing in shelf.listings()])

    @router.get("/v1/models/{model_id:path}")
    async def model(model_id: str) -> ModelCard:
        return _card(_listing(shelf, model_id))

    return router


def probe_routes(shelf: ModelShelf, gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def alive() -> dict[str, str]:
        """The process answers; load and a poor registry do not change that."""
        return {"status": "ok"}

    @router.get("/readyz")
    async def ready() -> Response:
        """Send requests here: some model is loaded, and the server is not shutting down."""
        champions = {model.version.name: model.version.number for model in shelf.champions()}
        is_ready = bool(champions) and not gate.is_closed
        status = "ready" if is_ready else "shutting down" if gate.is_closed else "no model"
        body = {"status": status, "degraded": shelf.degraded, "champions": champions}
        return JSONResponse(body, 200 if is_ready else 503)

    return router


def _listing(shelf: ModelShelf, model_id: str) -> Listing:
    listing = shelf.find(model_id)
    if listing is None:
        served = ", ".join(listing.id for listing in shelf.listings())
        message = f"model {model_id[:200]!r} is not served here; served are: {served}"
        raise ApiError(404, "model_not_found", message, "model")
    return listing


def _check_dimensions(dimensions: object, listing: Listing) -> None:
    allowed = listing.model.embedder.dimension
    if dimensions is None or (type(dimensions) is int and dimensions == allowed):
        return
    message = f"dimensions: {listing.id} gives vectors of {allowed} numbers, and no others"
    raise ApiError(400, "invalid_value", message, "dimensions")


def _embeddings(listing: Listing, body: EmbeddingsRequest) -> bytes:
    """The reply's JSON. Slow: computes the vectors and writes them out."""
    embedder, texts = listing.model.embedder, body.texts
    vectors = embedder.embed(texts)
    fault = fault_of(vectors, len(texts), embedder.dimension)
    if fault is not None:
        # Asking again would give the same again.
        once = {"x-should-retry": "false"}
        raise ApiError(500, "embedding_not_finite", fault, headers=once)
    tokens = _count(embedder, texts)
    reply = EmbeddingsReply(
        data=[
            Embedding(index=index, embedding=_encoded(vector, body.encoding_format))
            for index, vector in enumerate(vectors)
        ],
        model=listing.id,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )
    return reply.model_dump_json().encode()


def _encoded(vector: FloatArray, encoding: Encoding | None) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers


def _count(embedder: Embedder, texts: Sequence[str]) -> int:
    """Tokens, where the embedder counts them; else words between blanks, which are fewer."""
    if isinstance(embedder, CountsTokens):
        return embedder.count_tokens(texts)
    return sum(len(text.split()) for text in texts)


def _card(listing: Listing) -> ModelCard:
    version = listing.model.version
    return ModelCard(
        id=listing.id,
        created=listing.model.loaded_at,
        version=version.number,
        dimension=listing.model.embedder.dimension,
        fingerprint=version.fingerprint,
    )
