"""Identity by content: equal content has an equal fingerprint on any machine and in any process."""

from __future__ import annotations

import hashlib
import json


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no blanks; refuses NaN and infinities with `ValueError`."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def fingerprint(*parts: object) -> str:
    """The SHA-256, in hex, of JSON-able parts; each part counts apart from its neighbours."""
    digest = hashlib.sha256()
    for part in parts:
        payload = canonical_json(part).encode("utf-8", "surrogatepass")
        digest.update(len(payload).to_bytes(8, "big"))
        digest.update(payload)
    return digest.hexdigest()
