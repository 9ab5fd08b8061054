"""Rows of one split that stand in another, and rows that repeat within one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from embedsweep.core.dataset import Split
from embedsweep.core.experiment import OnOverlap
from embedsweep.data.faults import FaultLog
from embedsweep.data.rows import Row, SplitRows, T
from embedsweep.data.text import counted, shorten


@dataclass(frozen=True, slots=True)
class Dropped(Generic[T]):
    """A row that was dropped, for a row of another split that has its text.

    Attributes:
        split: Of the dropped row.
        row: The dropped row.
        other: The other split.
        twin: Its first row with the text.
    """

    split: Split
    row: Row[T]
    other: Split
    twin: Row[T]


def part_splits(
    rows: SplitRows[T], on_overlap: OnOverlap, faults: FaultLog
) -> tuple[dict[Split, list[Row[T]]], list[Dropped[T]], list[str]]:
    """The rows with no `Row.key` in two splits, what was dropped for it, and notes on that.

    With `OnOverlap.ERROR` every overlapping row is logged and kept. Else a row of train goes if
    its key is in valid or test, and a row of valid if its key is in test; test is never touched.
    """
    parted = {split: list(rows[split]) for split in Split}
    dropped: list[Dropped[T]] = []
    notes: list[str] = []
    for split, others in (
        (Split.VALID, (Split.TEST,)),
        (Split.TRAIN, (Split.VALID, Split.TEST)),
    ):
        for other in others:
            found = _overlap(parted[split], parted[other])
            if not found:
                continue
            if on_overlap is OnOverlap.ERROR:
                _log(split, other, found, faults)
                continue
            dropped += (Dropped(split, row, other, twin) for row, twin in found)
            keys = {row.key for row, _ in found}
            parted[split] = [row for row in parted[split] if row.key not in keys]
            shared = sum(row.key in keys for row in parted[other])
            notes.append(
                f"{counted(len(found), 'row')} of {split} dropped: the text is in {other} too "
                f"({counted(shared, 'row')} of {other})"
            )
    return parted, dropped, notes


def _overlap(rows: Sequence[Row[T]], others: Sequence[Row[T]]) -> list[tuple[Row[T], Row[T]]]:
    """Each row whose key another split has, with the first row there that has it."""
    firsts = {row.key: row for row in reversed(others)}
    return [(row, firsts[row.key]) for row in rows if row.key in firsts]


def _log(
    split: Split, other: Split, found: Sequence[tuple[Row[T], Row[T]]], faults: FaultLog
) -> None:
    for row, twin in found:
        faults.add(
            f"overlap of {split} and {other}",
            row.file,
            f"{shorten(row.key)} is also at {twin.place}, case, blanks and punctuation aside",
            "take one of the two out, or write 'on_overlap: drop_from_train' under data",
            row.line,
        )


def drop_repeats(rows: Sequence[Row[T]]) -> tuple[list[Row[T]], list[str]]:
    """The rows of train without exact repeats, the first of each kept, and a note on it."""
    firsts: dict[T, Row[T]] = {}
    for row in rows:
        firsts.setdefault(row.value, row)
    kept = list(firsts.values())
    dropped = len(rows) - len(kept)
    note = f"{counted(dropped, 'row')} of train dropped: an earlier row is exactly the same"
    return kept, [note] if dropped else []


def notes_on_labels(rows: SplitRows[T]) -> list[str]:
    """A note for each split in which one text has two strata (labels)."""
    notes = []
    for split in Split:
        strata: dict[str, set[str]] = {}
        for row in rows[split]:
            strata.setdefault(row.key, set()).add(row.stratum)
        torn = sum(len(found) > 1 for found in strata.values())
        if torn:
            notes.append(f"{counted(torn, 'text')} of {split} with two labels or more")
    return notes


def notes_on_groups(rows: SplitRows[T]) -> list[str]:
    """A note for each two splits that share a group: files of their own are taken as they are."""
    groups = {split: {row.group for row in rows[split]} - {None} for split in Split}
    notes = []
    for split, other in (
        (Split.TRAIN, Split.VALID),
        (Split.TRAIN, Split.TEST),
        (Split.VALID, Split.TEST),
    ):
        shared = len(groups[split] & groups[other])
        if shared:
            notes.append(f"{counted(shared, 'group')} in both {split} and {other}")
    return notes
