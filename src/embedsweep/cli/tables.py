"""Tables and paragraphs that fit the screen."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = "  "
NARROWEST = 24
"""Columns that the last cell of a row needs next to the others; with fewer it goes below them."""


def screen_width() -> int | None:
    """Return the width of standard output in columns, or `None` if it is a file or a pipe.

    ``COLUMNS`` overrides both.
    """
    if "COLUMNS" in os.environ or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def paragraph(text: str, width: int | None) -> list[str]:
    """Break a text into lines between words; a longer word is broken too."""
    if width is None or cell_len(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(Console(width=width), width)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Lay out cells in columns, aligned right but for the last column.

    Args:
        head: Of each column; one of several lines stands on the last of them.
        rows: The cells of each row.
        width: Columns of the screen, or `None` for no limit. If the last cells do not fit next to
            the others, they are broken into lines there or below.
    """
    lines = [*_stacked(head), *rows]
    widths = _widths(lines)
    *others, longest = widths
    left = sum(others) + len(GAP) * len(others)
    room = longest if width is None else width - left
    is_below = room < min(longest, NARROWEST)
    for line in lines:
        *cells, last = line
        first = "".join(_right(cell, each) + GAP for cell, each in zip(cells, others, strict=True))
        if is_below and width is not None:
            yield first.rstrip()
            if last:
                yield from (f"{GAP * 2}{part}" for part in paragraph(last, width - len(GAP) * 2))
        else:
            beginning, *more = paragraph(last, room)
            yield f"{first}{beginning}".rstrip()
            yield from (f"{' ' * left}{part}".rstrip() for part in more)


def narrowest(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width that a table needs with its last cells below the others."""
    *others, _ = _widths([*_stacked(head), *rows])
    return sum(others) + len(GAP) * (len(others) - 1)


def _stacked(head: Sequence[str]) -> list[Sequence[str]]:
    columns = (reversed(cell.split("\n")) for cell in head)
    return [*reversed(list(zip_longest(*columns, fillvalue="")))]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _right(cell: str, width: int) -> str:
    return " " * (width - cell_len(cell)) + cell
