"""The request's body: read whole, bounded in size and time, before anything parses it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedsweep.serving.errors import CLOSE, ApiError


class BoundedBody:
    """Hands the application requests that have arrived whole.

    So a slow client holds no place in the line, and a body is refused as soon as it is too
    large, with or without a Content-Length.

    Args:
        app: Who gets the requests.
        limit: Bytes of a body.
        seconds: A body must have arrived by then.
        streamed: Paths whose POST bodies are passed on as they come; the route bounds them.
    """

    def __init__(
        self, app: ASGIApp, limit: int, seconds: float, streamed: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds
        self._streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_streamed(scope):
            await self._app(scope, receive, send)
            return
        if int(Headers(scope=scope).get("content-length", "0")) > self._limit:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            message = f"the body did not arrive within {self._seconds:g} seconds"
            raise ApiError(408, "body_timeout", message, headers=CLOSE) from None
        if body is None:
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, receive_again, send)

    def _is_streamed(self, scope: Scope) -> bool:
        return scope["method"] == "POST" and scope["path"] in self._streamed

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None when the client has left."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._limit:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> ApiError:
        message = f"the body has more than {self._limit} bytes, which is all that is taken"
        return ApiError(413, "body_too_large", message)
