"""The service, put together: guards, then the body, then the routes."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware

from embedsweep.serving.body import BoundedBody
from embedsweep.serving.errors import Replies, speak_openai
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import Guards, header_guard, host_guard, key_guard
from embedsweep.serving.limits import Limits
from embedsweep.serving.routes import embeddings_routes, models_routes, probe_routes
from embedsweep.serving.shelf import ModelShelf


def create_app(
    shelf: ModelShelf,
    limits: Limits,
    api_keys: frozenset[str],
    hosts: frozenset[str],
) -> FastAPI:
    """The OpenAI-compatible application over a shelf; its gate is at ``app.state.gate``.

    Args:
        shelf: The models.
        limits: How much to take on.
        api_keys: Keys that open it; without any it is open to whoever reaches it.
        hosts: Host headers it answers to, with their ports.
    """
    gate = Gate(limits.concurrent, limits.waiting)
    guards = (header_guard(limits.header_bytes), host_guard(hosts), key_guard(api_keys))
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Replies),
            Middleware(Guards, guards),
            Middleware(BoundedBody, limits.body_bytes, limits.body_seconds),
        ],
    )
    app.state.gate = gate
    speak_openai(app)
    app.include_router(embeddings_routes(shelf, gate, limits))
    app.include_router(models_routes(shelf))
    app.include_router(probe_routes(shelf, gate))
    return app
