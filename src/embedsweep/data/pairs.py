"""Pairs and triplets: ``anchor, positive[, negative]``, or pairs with a label or a grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from embedsweep.core.dataset import (
    Benchmark,
    Pair,
    RetrievalTask,
    Split,
    TrainingSet,
    TripletTask,
)
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind
from embedsweep.data.names import (
    FIRST_OF_TWO,
    GRADE_OF_PAIR,
    LABEL_OF_PAIR,
    MARK_OF_PAIR,
    NEGATIVES,
    SECOND_OF_TWO,
)
from embedsweep.data.retrieval import Numbering, retrieval_benchmark
from embedsweep.data.rows import Row, SplitRows, Texts
from embedsweep.data.text import counted, normalise


class Pairs:
    """Gives retrieval of the positives by their anchors, and triplets where negatives are given.

    Documents may stand in several splits, as in a corpus; anchors may not.
    """

    name = "pairs"
    fields: tuple[Field, ...] = (
        Field("anchor", Kind.TEXT, aliases=FIRST_OF_TWO),
        Field("positive", Kind.SOME_TEXTS, aliases=SECOND_OF_TWO),
        Field("negative", Kind.TEXTS, aliases=NEGATIVES),
        Field("label", Kind.MARK, aliases=(*LABEL_OF_PAIR, *MARK_OF_PAIR)),
        Field("grade", Kind.GRADE, aliases=GRADE_OF_PAIR),
    )

    def build(self, values: Mapping[str, Any], group: str | None) -> Sequence[Pair]:
        """One pair for each second text; one that is marked as negative has the grade 0."""
        texts, label = values["positive"], values["label"]
        grade = 1 if values["grade"] is None else values["grade"]
        marks = label if isinstance(label, tuple) else (label is not False,) * len(texts)
        if len(marks) != len(texts):
            why = f"found {len(marks)} labels for {len(texts)} texts"
            raise ValueError(why)
        return [
            Pair(values["anchor"], text, values["negative"], grade * mark, group)
            for text, mark in zip(texts, marks, strict=True)
        ]

    def gathered(self, rows: list[Row[Pair]]) -> tuple[list[Row[Pair]], str]:
        """The pairs, each with the texts that are marked as negatives of its anchor.

        An anchor without a positive has no pair, so its rows are left out; so is a negative that
        is its row's own positive.
        """
        rows, dropped = _without_own_positives(rows)
        positives: dict[str, set[str]] = {}
        negatives: dict[str, dict[str, None]] = {}
        for row in rows:
            if row.value.grade:
                positives.setdefault(row.key, set()).add(row.value.positive)
            else:
                negatives.setdefault(row.key, {})[row.value.positive] = None
        if not negatives:
            return rows, dropped
        kept = []
        for row in (row for row in rows if row.value.grade):
            known = positives[row.key]
            marked = (text for text in negatives.get(row.key, ()) if text not in known)
            value = replace(row.value, negatives=(*row.value.negatives, *marked))
            kept.append(replace(row, value=value))
        alone = sum(not row.value.grade and row.key not in positives for row in rows)
        left_out = f"{counted(alone, 'row')} with label 0 left out: the anchor has no positive text"
        return kept, "; ".join(filter(None, (dropped, left_out if alone else "")))

    def texts(self, value: Pair) -> tuple[str, ...]:
        return (normalise(value.anchor), normalise(value.positive))

    def key(self, texts: tuple[str, ...]) -> str:
        return texts[0]

    def roles(self, value: Pair) -> Texts:
        return Texts((value.anchor,), (value.positive,))

    def stratum(self, value: Pair) -> str:
        return ""

    def training(self, values: Sequence[Pair]) -> TrainingSet:
        return TrainingSet(pairs=tuple(values))

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[Pair],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        queries, documents = Numbering.of(f"{split}"), Numbering.of(f"{split}-document")
        judgements: dict[str, dict[str, int]] = {}
        triplets: dict[str, tuple[str, str, str]] = {}
        groups: dict[str, str] = {}
        named: dict[str, str] = {}
        for place, value in enumerate(values):
            query = queries.add(normalise(value.anchor), value.anchor)
            document = documents.add(normalise(value.positive), value.positive)
            judgements.setdefault(query, {})[document] = value.grade
            if value.group is not None:
                groups.setdefault(query, value.group)
            if slices:
                named.setdefault(query, slices[place])
            for negative in value.negatives:
                documents.add(normalise(negative), negative)
                example = f"{split}-triplet-{len(triplets)}"
                triplets[example] = (value.anchor, value.positive, negative)
                if value.group is not None:
                    groups[example] = value.group
                if slices:
                    named[example] = slices[place]
        retrieval = RetrievalTask(queries.texts, documents.texts, judgements)
        benchmark = retrieval_benchmark(name, split, retrieval, groups, named)
        return replace(benchmark, triplets=TripletTask(triplets) if triplets else None)

    def check(self, rows: SplitRows[Pair], faults: FaultLog) -> None:
        for split in (Split.VALID, Split.TEST):
            documents = {
                normalise(text)
                for row in rows[split]
                for text in (row.value.positive, *row.value.negatives)
            }
            if len(documents) < 2:
                why = f"{split} has one document to find, expected several"
                fix = f"give {split} pairs with different positives"
                faults.add("positive", rows[split][0].file, why, fix)


def _without_own_positives(rows: list[Row[Pair]]) -> tuple[list[Row[Pair]], str]:
    """The rows without the negatives that are the row's own positive, and a note on how many."""
    kept, dropped = [], 0
    for row in rows:
        own, given = normalise(row.value.positive), row.value.negatives
        negatives = tuple(text for text in given if normalise(text) != own)
        if len(negatives) < len(given):
            dropped += len(given) - len(negatives)
            row = replace(row, value=replace(row.value, negatives=negatives))
        kept.append(row)
    return (
        kept,
        f"{counted(dropped, 'negative')} left out: the row's own positive" if dropped else "",
    )
