"""Scored pairs: ``sentence1, sentence2, score``, as JSON Lines or CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from embedsweep.core.dataset import (
    Benchmark,
    RelevanceTask,
    RetrievalTask,
    ScoredPair,
    SimilarityTask,
    Split,
    TrainingSet,
)
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind
from embedsweep.data.names import FIRST_OF_TWO, GRADE_OF_PAIR, LABEL_OF_PAIR, SCORE, SECOND_OF_TWO
from embedsweep.data.retrieval import Numbering
from embedsweep.data.rows import Row, SplitRows, Texts
from embedsweep.data.scales import DEFAULT_SCALE, Scale
from embedsweep.data.text import normalise

RELEVANT_FROM = 0.8
"""Pairs at or above this quantile of their split's scores count as relevant."""


class Scored:
    """Gives similarity, and retrieval and relevance from the highest scores.

    So that every run has retrieval and classification measures, the pairs whose score is at or
    above the 80th percentile of their split count as relevant. Retrieval then asks with the
    distinct first sentences that have a relevant partner and searches all distinct second
    sentences; relevance tells the relevant pairs from all others.

    Args:
        scale: Lowest and highest score that there can be; losses train on the place in it.
    """

    name = "scored"
    fields: tuple[Field, ...] = (
        Field("sentence1", Kind.TEXT, aliases=FIRST_OF_TWO),
        Field("sentence2", Kind.TEXT, aliases=SECOND_OF_TWO),
        Field("score", Kind.NUMBER, aliases=(*SCORE, *LABEL_OF_PAIR, *GRADE_OF_PAIR)),
    )

    def __init__(self, scale: Scale = DEFAULT_SCALE) -> None:
        self._scale = scale

    def build(self, values: Mapping[str, Any], group: str | None) -> Sequence[ScoredPair]:
        return (ScoredPair(values["sentence1"], values["sentence2"], values["score"], group),)

    def gathered(self, rows: list[Row[ScoredPair]]) -> tuple[list[Row[ScoredPair]], str]:
        return rows, ""

    def texts(self, value: ScoredPair) -> tuple[str, ...]:
        return (normalise(value.first), normalise(value.second))

    def key(self, texts: tuple[str, ...]) -> str:
        return " / ".join(sorted(texts))

    def roles(self, value: ScoredPair) -> Texts:
        return Texts((), (value.first, value.second))

    def stratum(self, value: ScoredPair) -> str:
        return ""

    def training(self, values: Sequence[ScoredPair]) -> TrainingSet:
        return TrainingSet(scored=tuple(values), score_range=self._scale)

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[ScoredPair],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        threshold = relevant_from([value.score for value in values])
        rows = {f"{split}-pair-{number}": value for number, value in enumerate(values)}
        pairs = {number: (value.first, value.second) for number, value in rows.items()}
        groups = {n: value.group for n, value in rows.items() if value.group is not None}
        queries, documents = Numbering.of(f"{split}"), Numbering.of(f"{split}-document")
        judgements: dict[str, dict[str, int]] = {}
        named = dict(zip(rows, slices, strict=bool(slices)))
        for number, value in rows.items():
            document = documents.add(normalise(value.second), value.second)
            if value.score >= threshold:
                query = queries.add(normalise(value.first), value.first)
                judgements.setdefault(query, {})[document] = 1
                if value.group is not None:
                    groups.setdefault(query, value.group)
                if slices:
                    named.setdefault(query, named[number])
        return Benchmark(
            name=name,
            split=split,
            retrieval=RetrievalTask(queries.texts, documents.texts, judgements),
            relevance=RelevanceTask(
                pairs, {number: value.score >= threshold for number, value in rows.items()}
            ),
            similarity=SimilarityTask(pairs, {number: row.score for number, row in rows.items()}),
            groups=groups,
            slices=named,
        )

    def check(self, rows: SplitRows[ScoredPair], faults: FaultLog) -> None:
        for split in Split:
            scores = {row.value.score for row in rows[split]}
            if len(scores) < 2:
                why = f"every row of {split} has the score {min(scores):g}, expected several"
                faults.add("score", rows[split][0].file, why, "add pairs with other scores")


def relevant_from(scores: Sequence[float]) -> float:
    """The nearest-rank quantile `RELEVANT_FROM`; where that is the lowest score, the next one.

    Args:
        scores: At least two different values.
    """
    ordered = sorted(scores)
    threshold = ordered[math.ceil(RELEVANT_FROM * len(ordered)) - 1]
    return threshold if threshold > ordered[0] else min(s for s in ordered if s > ordered[0])
