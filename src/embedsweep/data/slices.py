"""Naming the slices of a split: the parts of which the results are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from embedsweep.core.dataset import Split
from embedsweep.data.faults import FaultLog
from embedsweep.data.rows import Row, T
from embedsweep.data.text import counted, shorten

MOST_SLICES = 1000
MEAN_ROWS = 2
"""Slices of fewer rows than this on average say nothing of a slice."""


def slice_names(
    split: Split, rows: Sequence[Row[T]], slice_by: str | None, faults: FaultLog
) -> list[str]:
    """The slice of each row: what the user slices by or else, where there are, its label.

    Too many slices, or too small ones, are a fault if the user asked for them; else there are
    none.
    """
    if slice_by is None:
        names = [row.stratum for row in rows]
        return names if all(names) and _why_not(split, names) is None else []
    names = [row.slice for row in rows if row.slice is not None]
    why = _why_not(split, names)
    if why is not None:
        fix = "name a field with fewer values, or take 'slice_by' out"
        faults.add(f"slice_by {shorten(slice_by)}", rows[0].file, why, fix)
    return names


def _why_not(split: Split, names: Sequence[str]) -> str | None:
    """What keeps the names from being slices, or None."""
    slices = len(Counter(names))
    if slices <= MOST_SLICES and slices * MEAN_ROWS <= len(names):
        return None
    return (
        f"{counted(slices, 'slice')} in {counted(len(names), 'row')} of {split}, expected "
        f"{MOST_SLICES} at most, of {MEAN_ROWS} rows or more on average"
    )
