"""What one task of a benchmark yields, before all of them become a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from embedsweep.core.dataset import Benchmark
from embedsweep.core.report import Measure, Report

Scores = Mapping[Measure, Mapping[str, float]]


@dataclass(frozen=True)
class TaskResult:
    """The measures of one task.

    Attributes:
        scores: Score by query or example id; the measure's value is their mean.
        means: Values of the measures that are no mean over examples.
        per_class: Precision, recall, f1 and support by class.
        facts: Numbers about the measuring itself.
    """

    scores: Scores = field(default_factory=dict)
    means: Mapping[Measure, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)


def report_of(
    benchmark: Benchmark, results: Sequence[TaskResult], facts: Mapping[str, float]
) -> Report:
    """One report of all the tasks; no two results hold the same measure or fact."""
    scores = {measure: by_id for result in results for measure, by_id in result.scores.items()}
    means = {measure: fmean(by_id.values()) for measure, by_id in scores.items()}
    for result in results:
        means.update(result.means)
    return Report(
        benchmark=benchmark.fingerprint,
        split=benchmark.split.value,
        means=means,
        scores=scores,
        groups=dict(benchmark.groups),
        slices=dict(benchmark.slices),
        per_class={label: row for part in results for label, row in part.per_class.items()},
        facts={**facts, **{name: v for part in results for name, v in part.facts.items()}},
    )
