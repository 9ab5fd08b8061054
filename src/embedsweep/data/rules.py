"""From rows as read to the rows of the three splits: splitting, overlap, repeats, size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from embedsweep.core.dataset import Split
from embedsweep.core.errors import UsageError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data.faults import FaultLog
from embedsweep.data.leakage import (
    Dropped,
    drop_repeats,
    notes_on_groups,
    notes_on_labels,
    part_splits,
)
from embedsweep.data.limits import keep_at_most, keep_few_shot
from embedsweep.data.rows import Draft, Row, T
from embedsweep.data.slices import slice_names
from embedsweep.data.splits import split_rows

DEFAULT_SEED = SplitRule(0.0, 0.0).seed
_FAR_OFF = 2.0
"""A split this many times larger or smaller than asked for is worth a note."""


@dataclass(frozen=True)
class Ruled(Generic[T]):
    """What the rules make of a draft.

    Attributes:
        rows: The rows of each split.
        slices: The slice of each row of valid and test; nothing for a split without slices.
        dropped: Rows that another split had too.
        notes: What a reader of the results should know.
    """

    rows: Mapping[Split, Sequence[Row[T]]]
    slices: Mapping[Split, Sequence[str]]
    dropped: Sequence[Dropped[T]]
    notes: Sequence[str]


def apply_rules(draft: Draft[T], spec: DataSpec, rule: SplitRule | None) -> Ruled[T]:
    """The rows of each split after all rules.

    Raises:
        DataError: Splits overlap, or what is left cannot be trained or measured on.
        UsageError: The rules do not suit the format.
    """
    faults = FaultLog()
    rows, notes = _complete(draft, rule)
    rows, dropped, told = part_splits(rows, spec.on_overlap, faults)
    faults.raise_if_any()
    rows[Split.TRAIN], repeated = drop_repeats(rows[Split.TRAIN])
    notes += [*told, *repeated, *notes_on_labels(rows), *notes_on_groups(rows)]
    _cut(rows, spec, rule.seed if rule else DEFAULT_SEED)
    for split in Split:
        if not rows[split]:
            where = draft.sources[split]
            why = f"no row is left for {split} after splitting and dropping"
            faults.add(f"{split} split", where, why, f"give {split} rows, or change the split")
    faults.raise_if_any()
    draft.form.check(rows, faults)
    slices = {
        split: slice_names(split, rows[split], spec.slice_by, faults)
        for split in (Split.VALID, Split.TEST)
    }
    faults.raise_if_any()
    return Ruled(rows, slices, dropped, notes)


def _complete(
    draft: Draft[T], rule: SplitRule | None
) -> tuple[dict[Split, list[Row[T]]], list[str]]:
    """All three splits; those without a file are split off train."""
    rows = {split: list(part) for split, part in draft.rows.items()}
    missing = [split for split in Split if split not in rows]
    if not missing or rule is None:
        return rows, []
    whole = rows[Split.TRAIN]
    parts = split_rows(whole, rule)
    notes = []
    for split, share in ((Split.VALID, rule.valid), (Split.TEST, rule.test)):
        got = len(parts[split]) / len(whole)
        if split in missing and not share / _FAR_OFF <= got <= share * _FAR_OFF:
            notes.append(
                f"{split} holds {got:.1%} of the rows, {share:.1%} were asked for: "
                "the groups that stay together differ much in size"
            )
    return {**parts, **{s: part for s, part in rows.items() if s is not Split.TRAIN}}, notes


def _cut(rows: dict[Split, list[Row[T]]], spec: DataSpec, seed: int) -> None:
    if spec.few_shot is not None:
        if not any(row.stratum for row in rows[Split.TRAIN]):
            why = "it keeps rows of each label, and this data has no labels"
            raise UsageError("few_shot", "data", why, "use 'max_train' instead")
        rows[Split.TRAIN] = keep_few_shot(rows[Split.TRAIN], spec.few_shot, seed)
    for split, count in ((Split.TRAIN, spec.max_train), (Split.VALID, spec.max_valid)):
        if count is not None:
            rows[split] = keep_at_most(rows[split], count, seed)
