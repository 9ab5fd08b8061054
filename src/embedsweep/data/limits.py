"""Keeping a part of the rows, drawn by seed and content and not by their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from embedsweep.data.rows import Row, T
from embedsweep.data.text import draw_order


def keep_few_shot(rows: Sequence[Row[T]], count: int, seed: int) -> list[Row[T]]:
    """``count`` rows of each stratum (label), or as many as it has."""
    taken: Counter[str] = Counter()
    kept: set[int] = set()
    for index in _drawn(rows, seed):
        stratum = rows[index].stratum
        if taken[stratum] < count:
            taken[stratum] += 1
            kept.add(index)
    return [row for index, row in enumerate(rows) if index in kept]


def keep_at_most(rows: Sequence[Row[T]], count: int, seed: int) -> list[Row[T]]:
    """``count`` rows, or all; one row of each stratum comes first, where there is room."""
    seen: set[str] = set()
    firsts: list[int] = []
    others: list[int] = []
    for index in _drawn(rows, seed):
        (others if rows[index].stratum in seen else firsts).append(index)
        seen.add(rows[index].stratum)
    kept = set((firsts + others)[:count])
    return [row for index, row in enumerate(rows) if index in kept]


def _drawn(rows: Sequence[Row[T]], seed: int) -> list[int]:
    """Positions of the rows in drawn order; rows of equal text by their content."""
    return sorted(
        range(len(rows)), key=lambda i: (draw_order(seed, rows[i].key), repr(rows[i].value))
    )
