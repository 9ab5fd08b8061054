"""What a user can get wrong, said in one shape: what, where, why and how to fix it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

SHOWN_FAULTS = 20
"""How many faults a message spells out; the rest are counted."""

SHOWN_LINES = 5
"""How many lines a fault that is in many lines names."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        what: The thing at fault, such as ``unknown key 'learnig_rate'``.
        where: The file, option or object that holds it.
        why: The value seen against the value expected.
        fix: The next thing to do, as an imperative.
        line: 1-based line in ``where`` when it is a file; of several places, the first.
        count: Number of places with this fault, at least 1.
        lines: The first lines, at most `SHOWN_LINES`, if the fault is in several.
    """

    what: str
    where: str
    why: str
    fix: str
    line: int | None = None
    count: int = 1
    lines: tuple[int, ...] = ()

    @property
    def place(self) -> str:
        return self.where if self.line is None else f"{self.where}:{self.line}"

    def __str__(self) -> str:
        return f"error: {self.what} in {self.place}: {self.why}{self._others}. Fix: {self.fix}"

    @property
    def _others(self) -> str:
        if self.count == 1:
            return ""
        first = "first in" if self.count > len(self.lines) else "in"
        lines = f", {first} lines {', '.join(map(str, self.lines))}" if self.lines else ""
        return f" ({self.count} times{lines})"

    def as_dict(self) -> dict[str, str | int | None]:
        return {
            "what": self.what,
            "where": self.where,
            "line": self.line,
            "why": self.why,
            "fix": self.fix,
            "count": self.count,
        }


class UserError(Exception):
    """A mistake the user can mend; shown as a sentence, never as a traceback.

    Subclasses differ only in the exit code the command line ends with.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, where: str, why: str, fix: str, line: int | None = None) -> None:
        self.faults: tuple[Fault, ...] = (Fault(what, where, why, fix, line),)
        self.total = 1
        super().__init__(str(self))

    @classmethod
    def of(cls, faults: Sequence[Fault], total: int | None = None) -> Self:
        """All the faults found in one pass.

        Args:
            faults: At least one fault; the first `SHOWN_FAULTS` are spelt out.
            total: Number of places with a fault, if not all were kept.
        """
        first = faults[0]
        error = cls(first.what, first.where, first.why, first.fix, first.line)
        error.faults = tuple(faults)
        error.total = sum(fault.count for fault in faults) if total is None else total
        error.args = (str(error),)
        return error

    def __str__(self) -> str:
        shown = self.faults[:SHOWN_FAULTS]
        lines = [str(fault) for fault in shown]
        if self.total > sum(fault.count for fault in shown):
            lines.append(f"error: {self.total} faults in all, the first {len(lines)} are shown")
        return "\n".join(lines)


class UsageError(UserError):
    """The command line, the environment or an experiment file is wrong."""

    exit_code = 2


class DataError(UserError):
    """A data set or an artefact is wrong."""

    exit_code = 3


class StoreError(UserError):
    """A provider or a store did not do its part."""

    exit_code = 4


class Refusal(UserError):
    """A gate, a budget or a conflict forbids it."""

    exit_code = 5


class Superseded(Refusal):
    """Another process runs the sweep now; this one must not write to it."""
