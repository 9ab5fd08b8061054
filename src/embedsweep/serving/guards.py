"""What a request must pass before it is read: the size of its headers, its host and its key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from embedsweep.serving.errors import CLOSE, ApiError

Guard = Callable[[Scope, Headers], None]
"""Raises `ApiError` for a request that may not pass."""

PROBES = frozenset({"/healthz", "/readyz"})
"""Open to whoever supervises the process: they say nothing that needs a key, under any host."""

READING = frozenset({"GET", "HEAD"})

ANYONE = ""
"""The owner of everything where no keys are asked for."""


class Guards:
    """Puts guards before an application; the first that objects has the say."""

    def __init__(self, app: ASGIApp, guards: Sequence[Guard]) -> None:
        self._app = app
        self._guards = guards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            for guard in self._guards:
                guard(scope, headers)
        await self._app(scope, receive, send)


def header_guard(limit: int) -> Guard:
    """Refuse more header bytes; the parser's own bound holds only for what it reads in pieces."""

    def guard(scope: Scope, headers: Headers) -> None:
        size = sum(len(name) + len(value) for name, value in headers.raw)
        if size > limit:
            message = f"the headers have {size} bytes, at most {limit} are taken"
            raise ApiError(431, "headers_too_large", message, headers=CLOSE)

    return guard


def host_guard(hosts: frozenset[str]) -> Guard:
    """Answer to these Host headers only, and let no other site's page post.

    A page may point a name of its own site at this address; the browser then takes the service
    for a part of that site. The Host header gives the foreign name away.
    """
    known = frozenset(host.lower() for host in hosts)

    def guard(scope: Scope, headers: Headers) -> None:
        if scope["path"] in PROBES:
            return
        host = headers.get("host", "")
        if host.lower() not in known:
            message = f"this service is not known as {host[:200]!r}; start it with --name HOST"
            raise ApiError(403, "host_not_allowed", message)
        origin = headers.get("origin")
        if origin is None or scope["method"] in READING:
            return
        _, _, site = origin.partition("://")
        if site.lower() not in known:
            message = f"pages of {origin[:200]!r} may not use this service"
            raise ApiError(403, "origin_not_allowed", message)

    return guard


def key_guard(keys: frozenset[str]) -> Guard:
    """Ask for one of the keys as ``Authorization: Bearer KEY``; where there are none, for none.

    Who may pass is noted in the scope, for `owner_of`.
    """
    digests = [_digest(key) for key in keys]

    def is_known(key: str) -> bool:
        # Every digest is compared, whole: the time taken tells neither which key is near nor how.
        given = _digest(key)
        return sum(hmac.compare_digest(given, digest) for digest in digests) > 0

    def guard(scope: Scope, headers: Headers) -> None:
        if not digests or scope["path"] in PROBES:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_known(key.strip()):
            message = "no valid API key; send it as 'Authorization: Bearer KEY'"
            raise ApiError(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})
        scope.setdefault("state", {})["owner"] = _digest(key.strip()).hex()

    return guard


def owner_of(request: Request) -> str:
    """Whose request it is: the SHA-256 of its key, or `ANYONE` where no keys are asked for."""
    return str(getattr(request.state, "owner", ANYONE))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
