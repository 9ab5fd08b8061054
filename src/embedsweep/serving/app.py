"""The service, put together: guards, then the body, then the routes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response

from embedsweep.core.roles import TextRole
from embedsweep.serving.body import BoundedBody
from embedsweep.serving.errors import Replies, speak_openai
from embedsweep.serving.fine_tuning.file_routes import UPLOADS, file_routes
from embedsweep.serving.fine_tuning.job_routes import deletion_routes, job_routes
from embedsweep.serving.fine_tuning.service import FineTuning
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import Guards, header_guard, host_guard, key_guard
from embedsweep.serving.limits import Limits
from embedsweep.serving.routes import embeddings_routes, models_routes
from embedsweep.serving.served import Shelf, Shelves
from embedsweep.serving.shelf import ModelShelf


def create_app(
    shelf: ModelShelf | None,
    limits: Limits,
    api_keys: frozenset[str],
    hosts: frozenset[str],
    fine_tuning: FineTuning | None = None,
    default_role: TextRole | None = None,
) -> FastAPI:
    """The OpenAI-compatible application; its gate is at ``app.state.gate``.

    Args:
        shelf: The champions, if any are served.
        limits: How much to take on.
        api_keys: Keys that open it; without any it is open to whoever reaches it.
        hosts: Host headers it answers to, with their ports.
        fine_tuning: Takes files and jobs, and serves what comes of them; None to do neither.
        default_role: Role of the texts of requests that name none; `None` to reject such requests
            for models whose roles differ.
    """
    gate = Gate(limits.concurrent, limits.waiting)
    guards = (header_guard(limits.header_bytes), host_guard(hosts), key_guard(api_keys))
    streamed = frozenset({UPLOADS} if fine_tuning else ())
    app = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Replies),
            Middleware(Guards, guards),
            Middleware(BoundedBody, limits.body_bytes, limits.body_seconds, streamed),
        ],
    )
    app.state.gate = gate
    speak_openai(app)
    champions: tuple[Shelf, ...] = (shelf,) if shelf else ()
    tuned: tuple[Shelf, ...] = (fine_tuning.shelf,) if fine_tuning else ()
    shelves = Shelves(champions + tuned)
    app.include_router(embeddings_routes(shelves, gate, limits, default_role))
    app.include_router(models_routes(shelves, gate, default_role))
    app.include_router(probe_routes(shelf, gate))
    if fine_tuning:
        app.include_router(file_routes(fine_tuning, gate, limits))
        app.include_router(job_routes(fine_tuning, gate))
        app.include_router(deletion_routes(fine_tuning))
    return app


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
