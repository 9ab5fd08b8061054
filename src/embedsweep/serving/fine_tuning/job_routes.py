"""Jobs, and the models that come of them, over HTTP."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.paging import after_of, limit_of, metadata_of
from embedsweep.serving.fine_tuning.replies import (
    checkpoint_body,
    event_body,
    job_body,
    page_body,
)
from embedsweep.serving.fine_tuning.requests import JobRequest
from embedsweep.serving.fine_tuning.service import FineTuning
from embedsweep.serving.gate import Gate, shutting_down
from embedsweep.serving.guards import owner_of

MOST = 100
"""Items on a page."""

JOBS = "/v1/fine_tuning/jobs"


def job_routes(service: FineTuning, gate: Gate) -> APIRouter:
    router = APIRouter()

    @router.post(JOBS)
    def create(body: JobRequest, request: Request) -> Response:
        if gate.is_closed:
            raise shutting_down()
        return JSONResponse(job_body(service.create_job(owner_of(request), body)))

    @router.get(JOBS)
    def jobs(request: Request) -> Response:
        page = service.jobs.page(
            owner_of(request),
            after_of(request),
            limit_of(request, 20, MOST),
            metadata_of(request),
        )
        return JSONResponse(page_body(page, job_body))

    @router.get(JOBS + "/{job_id}")
    def job(job_id: str, request: Request) -> Response:
        return JSONResponse(job_body(service.jobs.get(job_id, owner_of(request))))

    @router.post(JOBS + "/{job_id}/cancel")
    def cancel(job_id: str, request: Request) -> Response:
        return JSONResponse(job_body(service.cancel_job(job_id, owner_of(request))))

    @router.get(JOBS + "/{job_id}/events")
    def events(job_id: str, request: Request) -> Response:
        page = service.jobs.events(
            job_id, owner_of(request), after_of(request), limit_of(request, 20, MOST)
        )
        return JSONResponse(page_body(page, event_body))

    @router.get(JOBS + "/{job_id}/checkpoints")
    def checkpoints(job_id: str, request: Request) -> Response:
        page = service.jobs.checkpoints(
            job_id, owner_of(request), after_of(request), limit_of(request, 10, MOST)
        )
        return JSONResponse(page_body(page, checkpoint_body))

    for verb in ("pause", "resume"):
        router.post(f"{JOBS}/{{job_id}}/{verb}")(_refusal(service, verb))
    return router


def _refusal(service: FineTuning, verb: str) -> Callable[[str, Request], Response]:
    def refuse(job_id: str, request: Request) -> Response:
        service.jobs.get(job_id, owner_of(request))
        message = f"not supported: a job cannot {verb} here; cancel it, or let it end"
        raise ApiError(400, "not_supported", message)

    return refuse


def deletion_routes(service: FineTuning) -> APIRouter:
    router = APIRouter()

    @router.delete("/v1/models/{model_id:path}")
    def delete(model_id: str, request: Request) -> Response:
        service.delete_model(model_id, owner_of(request))
        return JSONResponse({"id": model_id, "object": "model", "deleted": True})

    return router
