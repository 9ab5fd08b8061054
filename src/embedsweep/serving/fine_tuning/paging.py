"""The query parameters of lists. Unknown ones are ignored."""

from __future__ import annotations

import re

from fastapi import Request

from embedsweep.serving.errors import ApiError

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def limit_of(request: Request, default: int, most: int) -> int:
    """``limit``: how many items a page has; more than `most` are never given.

    Raises:
        ApiError: 400 when it is no whole number from 1 on.
    """
    given = request.query_params.get("limit")
    if given is None:
        return default
    if not (given.isascii() and given.isdigit()) or int(given[:20]) < 1:
        message = f"limit: is {given[:40]!r}, expected a whole number from 1 on"
        raise ApiError(400, "invalid_value", message, "limit")
    return min(int(given[:20]), most)


def after_of(request: Request) -> str | None:
    """``after``: the id a page begins after."""
    return request.query_params.get("after") or None


def metadata_of(request: Request) -> dict[str, str] | None:
    """``metadata[key]=value``, all of them; None for ``metadata=null``."""
    if request.query_params.get("metadata") == "null":
        return None
    pairs = request.query_params.multi_items()
    found = ((_METADATA.fullmatch(name), value) for name, value in pairs)
    return {name[1]: value for name, value in found if name is not None}
