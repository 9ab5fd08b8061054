"""Collecting what is wrong with the data, in memory that does not grow with it."""

from __future__ import annotations

import re
from dataclasses import replace

from embedsweep.core.errors import SHOWN_FAULTS, SHOWN_LINES, DataError, Fault

_VALUES = re.compile(r'"(?:[^"\\]|\\.)*"|\d+')
"""What differs between two rows with the same fault: quoted values and numbers."""


class FaultLog:
    """Counts every fault and keeps the first `SHOWN_FAULTS` kinds of them.

    Faults that differ only in a value, such as a line number or a quoted text, are one kind.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], Fault] = {}
        self.total = 0

    @property
    def kept(self) -> list[Fault]:
        return list(self._kept.values())

    def add(self, what: str, where: str, why: str, fix: str, line: int | None = None) -> None:
        self.total += 1
        key = (where, *(_VALUES.sub("#", text) for text in (what, why, fix)))
        first = self._kept.get(key)
        if first is None:
            if len(self._kept) < SHOWN_FAULTS:
                self._kept[key] = Fault(what, where, why, fix, line, lines=_lines(line))
        else:
            lines = first.lines
            if len(lines) < SHOWN_LINES:
                lines = tuple(sorted({*lines, *_lines(line)}))
            self._kept[key] = replace(first, count=first.count + 1, lines=lines)

    def raise_if_any(self) -> None:
        """Raise one `DataError` with all that was found; do nothing if nothing was."""
        if self._kept:
            raise DataError.of(self.kept, self.total)


def _lines(line: int | None) -> tuple[int, ...]:
    return () if line is None else (line,)
