"""Collecting what is wrong with the data, in memory that does not grow with it."""

from __future__ import annotations

from embedsweep.core.errors import SHOWN_FAULTS, DataError, Fault


class FaultLog:
    """Counts every fault and keeps the first `SHOWN_FAULTS` of them."""

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.total = 0

    def add(self, what: str, where: str, why: str, fix: str, line: int | None = None) -> None:
        self.total += 1
        if len(self.kept) < SHOWN_FAULTS:
            self.kept.append(Fault(what, where, why, fix, line))

    def raise_if_any(self) -> None:
        """Raise one `DataError` with all that was found; do nothing if nothing was."""
        if self.kept:
            raise DataError.of(self.kept, self.total)
