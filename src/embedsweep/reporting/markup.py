"""HTML and SVG from values; whatever is not markup already is escaped."""

from __future__ import annotations

import re
from html import escape

VOID = frozenset({"meta", "br", "col"})
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""No document may hold these: control characters, and halves of characters."""


class Markup(str):
    """Text that is HTML or SVG already; only `element` and `text` make it."""

    __slots__ = ()


Content = str | None
Attribute = str | float | None


def text(value: str) -> Markup:
    """The value as it is to be read, whatever it holds."""
    return Markup(escape(_UNPRINTABLE.sub("\ufffd", value)))


def element(tag: str, /, *content: Content, **attributes: Attribute) -> Markup:
    """An element with its content.

    Args:
        tag: Its name.
        content: Markup is taken as it is, other text is escaped, None is left out.
        attributes: ``class_`` is ``class`` and ``stroke_width`` is ``stroke-width``; numbers are
            rounded to a hundredth; None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{joined(*content)}</{tag}>")


def joined(*content: Content) -> Markup:
    """Content one after another, escaped where it is not markup."""
    parts = (part for part in content if part is not None)
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def figure(number: float) -> str:
    """A coordinate, to a hundredth and no longer than it must be."""
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _value(value: str | float) -> str:
    return text(value) if isinstance(value, str) else figure(value)
