"""Measures as values, and the report of one model on one benchmark."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

RANKED = ("ndcg", "mrr", "recall", "precision")
"""Measures of a ranking cut at k, written ``name@k``."""

PLAIN = (
    "map",
    "accuracy",
    "macro_f1",
    "knn_accuracy",
    "knn_macro_f1",
    "relevance_average_precision",
    "relevance_f1",
    "relevance_accuracy",
    "triplet_accuracy",
    "spearman",
)
"""Measures without a cut-off."""

WITHOUT_SCORES = frozenset(
    {"macro_f1", "knn_macro_f1", "relevance_average_precision", "relevance_f1"}
)
"""Measures that are no mean over examples: they cannot be compared example by example."""

HEADLINE: Mapping[str, tuple[str, ...]] = {
    "retrieval": ("mrr@10", "ndcg@10"),
    "classification": ("accuracy",),
    "relevance": ("relevance_accuracy",),
    "triplets": ("triplet_accuracy",),
    "scored pairs": ("spearman",),
}
"""Headline metrics by task. Each has per-example scores and can be tested pairwise. A task has one
headline metric: the first one that is not the objective. The metrics of one task move together, so
a second one costs power and finds little."""


@dataclass(frozen=True, slots=True, order=True)
class Measure:
    """A measure, such as ``ndcg@10``; of every one of them higher is better.

    Attributes:
        name: One of `RANKED` or `PLAIN`.
        k: The cut-off of a ranked measure, at least 1; None for the others.
    """

    name: str
    k: int | None = None

    @classmethod
    def parse(cls, text: str) -> Measure:
        """Read ``ndcg@10``, ``ndcg_at_10`` or ``accuracy``; else `ValueError` naming all known."""
        match = re.fullmatch(r"([a-z_0-9]+?)(?:(?:@|_at_)(\d+))?", text.strip())
        name, k = (match[1], match[2]) if match else (text, None)
        if name in RANKED and k and int(k) >= 1:
            return cls(name, int(k))
        if name in PLAIN and k is None:
            return cls(name)
        ranked = ", ".join(f"{known}@k" for known in RANKED)
        raise ValueError(f"{text!r} is no measure; known are {ranked}, {', '.join(PLAIN)}")

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"

    @property
    def has_scores(self) -> bool:
        """Whether it is a mean over queries or examples, and so can be paired and tested."""
        return self.name not in WITHOUT_SCORES

    def key(self, split: str) -> str:
        """Its name in MLflow, which refuses ``@``: ``valid/ndcg_at_10``."""
        return f"{split}/{str(self).replace('@', '_at_')}"


def headline_measures(measured: Collection[Measure], objective: Measure) -> tuple[Measure, ...]:
    """Return the headline metrics next to the objective, at most one per task.

    Args:
        measured: The metrics that the data gives.
        objective: The metric that has its own test.
    """
    found = []
    for names in HEADLINE.values():
        others = [each for name in names if (each := Measure.parse(name)) != objective]
        found += [each for each in others[:1] if each in measured]
    return tuple(found)


@dataclass(frozen=True)
class Report:
    """What one model scored on one benchmark.

    Attributes:
        benchmark: Fingerprint of the benchmark.
        split: ``valid`` or ``test``.
        means: Value by measure.
        scores: Score by query or example id, for every measure that has scores; the mean of a
            measure's scores is its value in `means`.
        groups: Group by query or example id, where the data has groups.
        slices: Slice by query or example id, where the data has slices.
        per_class: Precision, recall, f1 and support by class, from the logistic-regression probe.
        facts: Numbers about the measuring itself: ``dimension``, ``texts``, ``embed_seconds``,
            ``tie_rate`` (share of queries whose top ranks hold a tie).
    """

    benchmark: str
    split: str
    means: Mapping[Measure, float]
    scores: Mapping[Measure, Mapping[str, float]]
    groups: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, str] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """The means under their MLflow names."""
        return {measure.key(self.split): value for measure, value in self.means.items()}

    def as_dict(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "split": self.split,
            "means": {str(measure): value for measure, value in self.means.items()},
            "scores": {str(measure): dict(scores) for measure, scores in self.scores.items()},
            "groups": dict(self.groups),
            "slices": dict(self.slices),
            "per_class": {label: dict(row) for label, row in self.per_class.items()},
            "facts": dict(self.facts),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        return cls(
            benchmark=values["benchmark"],
            split=values["split"],
            means={Measure.parse(name): value for name, value in values["means"].items()},
            scores={Measure.parse(name): scores for name, scores in values["scores"].items()},
            groups=values["groups"],
            slices=values.get("slices", {}),
            per_class=values["per_class"],
            facts=values["facts"],
        )
