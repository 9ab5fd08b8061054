"""Files over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from embedsweep.serving.errors import CLOSE, ApiError
from embedsweep.serving.fine_tuning.disk import no_room
from embedsweep.serving.fine_tuning.identifiers import new_id
from embedsweep.serving.fine_tuning.paging import after_of, limit_of
from embedsweep.serving.fine_tuning.records import StoredFile
from embedsweep.serving.fine_tuning.replies import file_body, page_body
from embedsweep.serving.fine_tuning.service import FineTuning
from embedsweep.serving.fine_tuning.upload import FRAME_BYTES, Upload, too_large
from embedsweep.serving.gate import RETRY_SOON, Gate, shutting_down
from embedsweep.serving.guards import owner_of
from embedsweep.serving.limits import Limits
from embedsweep.serving.routes import CLIENT_LEFT

UPLOADS = "/v1/files"
"""Where bodies are streamed."""

MOST_FILES = 10_000
PIECE_BYTES = 256 * 1024

LINGER_SECONDS = 5.0
"""How long the rest of a refused upload is read: many clients read no reply before they have sent
all, and would see but a broken connection."""


def file_routes(service: FineTuning, gate: Gate, limits: Limits) -> APIRouter:
    router = APIRouter()
    uploads = _Uploads(service, limits.body_seconds)

    @router.post(UPLOADS)
    async def upload(request: Request) -> Response:
        if gate.is_closed:
            raise shutting_down()
        try:
            file = await uploads.take(request)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        return JSONResponse(file_body(file))

    @router.get(UPLOADS)
    def files(request: Request) -> Response:
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            message = f"order: is {order[:40]!r}, expected 'asc' or 'desc'"
            raise ApiError(400, "invalid_value", message, "order")
        page = service.files.page(
            owner_of(request),
            after_of(request),
            limit_of(request, MOST_FILES, MOST_FILES),
            request.query_params.get("purpose"),
            order == "desc",
        )
        return JSONResponse(page_body(page, file_body))

    @router.get("/v1/files/{file_id}")
    def file(file_id: str, request: Request) -> Response:
        return JSONResponse(file_body(service.files.get(file_id, owner_of(request))))

    @router.get("/v1/files/{file_id}/content")
    def content(file_id: str, request: Request) -> Response:
        stored, opened = service.files.open(file_id, owner_of(request))
        headers = {"Content-Length": str(stored.bytes)}
        return StreamingResponse(
            _pieces(opened), media_type="application/octet-stream", headers=headers
        )

    @router.delete("/v1/files/{file_id}")
    def delete(file_id: str, request: Request) -> Response:
        service.files.delete(file_id, owner_of(request))
        return JSONResponse({"id": file_id, "object": "file", "deleted": True})

    return router


class _Uploads:
    """Takes uploads in, so many at a time. Belongs to one event loop.

    Args:
        service: Where they go.
        patience: Seconds to wait for the next piece of one.
    """

    def __init__(self, service: FineTuning, patience: float) -> None:
        self._service = service
        self._limits = service.limits
        self._patience = patience
        self._arriving = 0

    async def take(self, request: Request) -> StoredFile:
        """The file that the request brings.

        Raises:
            ApiError: It is refused.
            ClientDisconnect: The client has left.
        """
        if self._arriving >= self._limits.uploads:
            message = f"{self._arriving} files are arriving, no more are taken; try again"
            raise ApiError(429, "rate_limit_exceeded", message, headers={**RETRY_SOON, **CLOSE})
        self._arriving += 1
        pieces = request.stream()
        try:
            return await self._take(request, pieces)
        except ApiError as refusal:
            if refusal.status != 408 and "expect" not in request.headers:
                await self._linger(pieces)
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise no_room() from error
        finally:
            self._arriving -= 1

    async def _take(self, request: Request, pieces: AsyncIterator[bytes]) -> StoredFile:
        owner, most = owner_of(request), self._limits.file_bytes
        announced = int(request.headers.get("content-length", "0"))
        if announced > most + FRAME_BYTES:
            raise too_large(most)
        await run_in_threadpool(
            self._service.files.check_quota, owner, max(0, announced - FRAME_BYTES)
        )
        path = self._service.disk.incoming / new_id("upload")
        upload = Upload(request.headers.get("content-type", ""), path, most)
        try:
            await self._receive(pieces, upload)
            arrived = await run_in_threadpool(upload.arrived)
            return await run_in_threadpool(self._service.files.add, owner, arrived)
        finally:
            upload.close()

    async def _receive(self, pieces: AsyncIterator[bytes], upload: Upload) -> None:
        """Read the body to its end, in time."""
        now = asyncio.get_running_loop().time
        deadline = now() + self._limits.upload_seconds
        try:
            async with asyncio.timeout(self._patience) as patience:
                async for piece in pieces:
                    await run_in_threadpool(upload.feed, piece)
                    patience.reschedule(min(now() + self._patience, deadline))
        except TimeoutError:
            message = "the file did not arrive in time"
            raise ApiError(408, "body_timeout", message, headers=CLOSE) from None

    async def _linger(self, pieces: AsyncIterator[bytes]) -> None:
        left = self._limits.file_bytes
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(LINGER_SECONDS):
                async for piece in pieces:
                    left -= len(piece)
                    if left < 0:
                        return


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
