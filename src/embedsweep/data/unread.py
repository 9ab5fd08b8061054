"""Unread columns of pairs that may say which texts do not belong together."""

from __future__ import annotations

from collections.abc import Iterable

from embedsweep.data.columns import NO_COLUMN, Match
from embedsweep.data.fields import grade_of, look_up, mark_of
from embedsweep.data.records import Record

HIGHEST_GRADE = 4
"""Whole numbers from 0 to this look like grades; higher ones count something."""


class MarkLike:
    """The keys that hold nothing but marks of both kinds, or grades from 0 to a few.

    Read as plain pairs, the rows that such a key marks as irrelevant would train as positives.
    """

    def __init__(self) -> None:
        self._grades: dict[str, set[int]] = {}
        self._others: set[str] = set()

    def see(self, record: Record, keys: Iterable[str]) -> None:
        """Take note of the record's values at the keys."""
        for key in keys:
            if key not in self._others:
                value = look_up(record.values, key)
                parts = value if isinstance(value, list) else [value]
                try:
                    self._grades.setdefault(key, set()).update(map(_mark_or_grade, parts))
                except ValueError:
                    self._others.add(key)
                    del self._grades[key]

    def unsettled(self, match: Match) -> tuple[str, str] | None:
        """Why the file cannot be read so, and what to write; None if it can.

        Args:
            match: How the file was read.
        """
        found = {k: grades for k, grades in self._grades.items() if len(grades) > 1 and 0 in grades}
        if not found:
            return None
        key, grades = next(iter(found.items()))
        field = "label" if max(grades) == 1 else "grade"
        says = Match(match.format, {**match.columns, field: (key,)}).as_yaml()
        none = Match(match.format, {**match.columns, "label": (NO_COLUMN,)}).as_yaml()
        why = (
            f"{', '.join(found)} may say which texts do not belong together, and no column is "
            "read as that"
        )
        return why, f"write under data {says} if it does; or {none} if no column does"


def _mark_or_grade(value: object) -> int:
    try:
        return int(mark_of(value))
    except ValueError:
        grade = grade_of(value)
        if grade > HIGHEST_GRADE:
            raise
        return grade
