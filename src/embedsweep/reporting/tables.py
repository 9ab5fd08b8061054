"""Tables of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.reporting.markup import Content, Markup, element


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        content: What it shows.
        kind: CSS classes, such as ``num``.
        value: What it is sorted by; None for its text.
    """

    content: Content
    kind: str | None = None
    value: float | None = None


def number(value: float | None, form: str = ".4f") -> Cell:
    """A figure at the right of its column; a dash where there is none."""
    if value is None:
        return Cell("–", "num")
    return Cell(f"{value:{form}}".replace("-", "\N{MINUS SIGN}"), "num", value)


@dataclass(frozen=True)
class Row:
    """The cells of a row and its own CSS class."""

    cells: Sequence[Cell]
    kind: str | None = None


def table(
    head: Sequence[str], rows: Sequence[Row], *, caption: str | None = None, sortable: bool = False
) -> Markup:
    """A table; the heads of figures stand over them at the right."""
    kinds = [cell.kind for cell in rows[0].cells] if rows else [None] * len(head)
    heads = (
        element("th", says, scope="col", class_="num" if kind == "num" else None)
        for says, kind in zip(head, kinds, strict=True)
    )
    body = (element("tr", *(_cell(cell) for cell in row.cells), class_=row.kind) for row in rows)
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            element("thead", element("tr", *heads)),
            element("tbody", *body),
            class_="sortable" if sortable else None,
        ),
        class_="wide",
    )


def _cell(cell: Cell) -> Markup:
    value = None if cell.value is None else f"{cell.value:.8g}"
    return element("td", cell.content, class_=cell.kind, data_value=value)


def terms(pairs: Sequence[tuple[str, Content]], kind: str) -> Markup:
    """Names and what they are, as a list of definitions."""
    rows = (element("div", element("dt", name), element("dd", is_)) for name, is_ in pairs)
    return element("dl", *rows, class_=kind)
