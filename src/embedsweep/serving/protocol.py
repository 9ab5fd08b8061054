"""Malformed HTTP, which no application gets to see, refused in OpenAI's error body too."""

from __future__ import annotations

import sys
from http import HTTPStatus

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from embedsweep.serving.errors import CLOSE, ApiError


class JsonErrorProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, but for the reply it gives to what it cannot parse."""

    def send_400_response(self, msg: str) -> None:
        """Reply and close. Called where h11's error is being handled, which hints at the status."""
        status = getattr(sys.exception(), "error_status_hint", 400)
        reply = _refusal(status).response()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            head = h11.Response(
                status_code=status,
                reason=HTTPStatus(status).phrase.encode(),
                headers=reply.raw_headers,
            )
            for event in (head, h11.Data(data=bytes(reply.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def _refusal(status: int) -> ApiError:
    if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
        return ApiError(status, "headers_too_large", "the headers are too large", headers=CLOSE)
    return ApiError(status, "invalid_http", "this is not valid HTTP/1.1", headers=CLOSE)
