"""A client of a server on this machine whose port may change from one request to the next."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import openai

from embedsweep.backends.hosted.provider import READ_SECONDS, open_client

_HOST = "127.0.0.1"


class _Moving(httpx2.BaseTransport):
    def __init__(self, locate: Callable[[], int]) -> None:
        self._locate = locate
        self._inner = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        port = self._locate()
        request.url = request.url.copy_with(port=port)
        request.headers["Host"] = f"{_HOST}:{port}"
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def open_moving_client(locate: Callable[[], int], key: str) -> openai.OpenAI:
    """A client that finds out where to go before every request.

    Args:
        locate: Gives the server's port; may start it, and may raise a `UserError`.
        key: The server's key.
    """
    carrier = httpx2.Client(transport=_Moving(locate), timeout=READ_SECONDS)
    return open_client(f"http://{_HOST}/v1", key, http_client=carrier)
