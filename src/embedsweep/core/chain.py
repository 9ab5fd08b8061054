"""A record that only grows: each entry holds the hash of the one before.

Who changes, removes or inserts an entry breaks the hash of every later one, and that of the last
is kept apart as the head. It shows tampering; it cannot prevent it: whoever may write all of the
store could write all of the record anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from embedsweep.core.errors import DataError
from embedsweep.core.fingerprint import canonical_json


def link(content: Mapping[str, Any], before: str) -> str:
    """The text of an entry.

    Args:
        content: JSON-able values.
        before: `head_of` the entry before; empty for the first.
    """
    return canonical_json({"before": before, "content": content})


def head_of(text: str) -> str:
    """SHA-256, in hex, of an entry's text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def follow(texts: Sequence[str], head: str, where: str) -> list[dict[str, Any]]:
    """The contents of a record's entries, the first first.

    Args:
        texts: The entries.
        head: `head_of` the last one, as kept apart, or of the one before it: an entry is written
            before the head is, and its writer may have died between. Empty for no entry.
        where: What to call the record in a message.

    Raises:
        DataError: An entry was changed, removed, inserted or moved.
    """
    contents = []
    before, one_before = "", ""
    for number, text in enumerate(texts, start=1):
        entry = _entry(text)
        if entry is None or entry.get("before") != before:
            raise _broken(where, f"entry {number} does not follow from the one before it")
        contents.append(entry["content"])
        one_before, before = before, head_of(text)
    if head not in (before, one_before):
        raise _broken(where, f"its {len(texts)} entries do not end where its head says")
    return contents


def _entry(text: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("content"), dict) else None


def _broken(where: str, why: str) -> DataError:
    return DataError(
        "the record of looks and decisions",
        where,
        f"{why}: it was edited by hand, or by another program",
        "restore the store from a backup, or promote to another model name and a new test set",
    )
