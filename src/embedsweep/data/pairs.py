"""Pairs and triplets: ``anchor, positive[, negative]``, as JSON Lines or CSV."""

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
from embedsweep.data.retrieval import Numbering, retrieval_benchmark
from embedsweep.data.rows import SplitRows, Texts
from embedsweep.data.text import normalise


class Pairs:
    """Gives retrieval of the positives by their anchors, and triplets where negatives are given.

    Documents may stand in several splits, as in a corpus; anchors may not.
    """

    name = "pairs"
    fields: tuple[Field, ...] = (
        Field("anchor", Kind.TEXT),
        Field("positive", Kind.TEXT),
        Field("negative", Kind.TEXTS),
    )

    def build(self, values: Mapping[str, Any], group: str | None) -> Pair:
        return Pair(values["anchor"], values["positive"], values["negative"], group=group)

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
