"""Splitting rows so that what belongs together stays on one side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from embedsweep.core.dataset import Split
from embedsweep.core.experiment import SplitRule
from embedsweep.data.rows import Row, T
from embedsweep.data.text import draw_order


def components(ties: Sequence[tuple[str, ...]]) -> list[str]:
    """For each row the name of its component: rows that share a tie, directly or through others.

    The name is the least tie of the component, so it depends on no order.

    Args:
        ties: At least one per row.
    """
    parents: dict[str, str] = {}

    def root(tie: str) -> str:
        parents.setdefault(tie, tie)
        while parents[tie] != tie:
            parents[tie] = parents[parents[tie]]
            tie = parents[tie]
        return tie

    for row_ties in ties:
        roots = [root(tie) for tie in row_ties]
        least = min(roots)
        for other in roots:
            parents[other] = least
    return [root(row_ties[0]) for row_ties in ties]


def split_rows(rows: Sequence[Row[T]], rule: SplitRule) -> dict[Split, list[Row[T]]]:
    """Divide rows into the three splits, a component of `Row.ties` never cut.

    A component's place hangs on the seed and its own name alone: neither on the order of the rows
    nor on the other rows, so that a model trained before the data grew has still not seen the
    test split. The price is that shares, which are shares of the components, are met on average
    and not to the row. Two exceptions: a split that would be empty gets the next component in
    drawn order, and a stratum that would be missing from train gives it its last component.
    Rows keep their order.
    """
    names = components([row.ties for row in rows])
    strata: dict[str, set[str]] = {}
    for name, row in zip(names, rows, strict=True):
        strata.setdefault(name, set()).add(row.stratum)
    drawn = sorted(strata, key=lambda name: (draw_order(rule.seed, name), name))
    positions = {name: _position(rule.seed, name) for name in drawn}
    places = _places(drawn, positions, rule)
    covered: set[str] = set()
    for name in drawn:
        if places[name] is Split.TRAIN:
            covered |= strata[name]
    for name in reversed(drawn):
        if not strata[name] <= covered:
            places[name] = Split.TRAIN
            covered |= strata[name]
    splits: dict[Split, list[Row[T]]] = {split: [] for split in Split}
    for name, row in zip(names, rows, strict=True):
        splits[places[name]].append(row)
    return splits


def _position(seed: int, name: str) -> float:
    """Where the name stands in the drawn order, as a number from 0 to 1."""
    order = draw_order(seed, name)
    return int.from_bytes(order, "big") / (1 << 8 * len(order))


def _places(
    drawn: Sequence[str], positions: Mapping[str, float], rule: SplitRule
) -> dict[str, Split]:
    """Test takes the first of the drawn order, valid the next, train the rest."""
    places = dict.fromkeys(drawn, Split.TRAIN)
    rest = list(drawn)
    for split, share, end in (
        (Split.TEST, rule.test, rule.test),
        (Split.VALID, rule.valid, rule.test + rule.valid),
    ):
        if share > 0:
            count = max(1, sum(positions[name] < end for name in rest))
            places.update(dict.fromkeys(rest[:count], split))
            rest = rest[count:]
    return places
