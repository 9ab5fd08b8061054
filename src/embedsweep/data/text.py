"""What makes two texts the same, and how a value is shown in a message."""

from __future__ import annotations

import hashlib
import json
import unicodedata

SHOWN_CHARACTERS = 60


class _Folding(dict[int, str | None]):
    """A table for `str.translate` that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str | None:
        category = unicodedata.category(chr(code))
        folded: str | None = chr(code)
        if category == "Cf":  # zero-width and direction marks: invisible, so no difference
            folded = None
        elif category[0] in "PZ" or category == "Cc":
            folded = " "
        self[code] = folded
        return folded


_FOLDING = _Folding()
_ASCII_FOLDING = bytes(ord(chr(code).translate(_FOLDING)) for code in range(128)) + bytes(128)
"""The same as a table of bytes: no character of ASCII is left out, none becomes several."""


def normalise(text: str) -> str:
    """The text by which two rows count as the same.

    NFKC and case folded, every run of blanks and punctuation made one blank, trimmed. Letters,
    marks, digits and symbols stay. A text of punctuation alone is kept as it is, trimmed, so that
    ``?`` and ``!`` differ.
    """
    if text.isascii():
        lowered = text.lower()
        folded = lowered.encode("ascii").translate(_ASCII_FOLDING).decode("ascii")
        return " ".join(folded.split()) or lowered.strip()
    cased = unicodedata.normalize("NFKC", text).casefold()
    # Once more at the end: a mark may now follow a letter that an invisible one parted it from.
    folded = unicodedata.normalize("NFKC", cased.translate(_FOLDING))
    return " ".join(folded.split()) or cased.strip()


def shorten(value: object) -> str:
    """The value as JSON writes it, cut to `SHOWN_CHARACTERS`; a list or an object by its size."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object with the keys {shorten(', '.join(map(str, value)))}"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        value = value[:SHOWN_CHARACTERS] + "…"
    shown = json.dumps(value, ensure_ascii=False, default=str)  # a table holds dates too
    # A lone surrogate cannot be printed.
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")


def counted(count: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def draw_order(seed: int, key: str) -> bytes:
    """Where ``key`` stands in the order that ``seed`` draws; the same on any machine."""
    payload = f"{seed}\0{key}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(payload, digest_size=8).digest()
