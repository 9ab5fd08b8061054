"""Two models of a sweep side by side: how far apart they are, and on which examples most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.experiment import Experiment
from embedsweep.core.ports import Ledger, OpenSweep, Registry
from embedsweep.core.promotion import Comparison
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import (
    Example,
    compare,
    example,
    pairwise_differences,
    slice_changes,
    unit_scores,
)
from embedsweep.workflows.compare import known_sweep
from embedsweep.workflows.model_names import Named, named_models


@dataclass(frozen=True)
class ScoredExample:
    """An example, and what both models scored on it.

    Attributes:
        example: Its texts and its truth.
        first, second: The two scores.
        slice: The slice it is of, where the data has slices.
    """

    example: Example
    first: float
    second: float
    slice: str | None

    @property
    def difference(self) -> float:
        return self.first - self.second


@dataclass(frozen=True)
class SliceDifference:
    """Two models on the examples of one slice.

    Attributes:
        name: The slice.
        n: Its examples.
        first, second: The two means in it.
        p_value: Two-sided, corrected over all slices.
    """

    name: str
    n: int
    first: float
    second: float
    p_value: float


@dataclass(frozen=True)
class SideBySide:
    """Two models on the validation split.

    Attributes:
        experiment: The experiment's name.
        measure: What they are compared by.
        first, second: The models.
        comparison: Paired, first minus second.
        p_value: Two-sided, of this pair alone.
        first_better, second_better: The examples on which one of them is better, by how much.
        slices: The greatest loss of the first model first; empty where the data has no slices.
    """

    experiment: str
    measure: Measure
    first: Named
    second: Named
    comparison: Comparison
    p_value: float
    first_better: tuple[ScoredExample, ...]
    second_better: tuple[ScoredExample, ...]
    slices: tuple[SliceDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``compare EXPERIMENT.yaml A B --json`` prints."""
        found = self.comparison
        return {
            "experiment": self.experiment,
            "split": Split.VALID.value,
            "measure": str(self.measure),
            "a": {"name": self.first.name, "score": found.candidate, **self.first.trial.as_dict()},
            "b": {"name": self.second.name, "score": found.rival, **self.second.trial.as_dict()},
            "gain": found.gain,
            "interval": list(found.interval),
            "p_value": self.p_value,
            "corrected": False,
            "n": found.n,
            "units": found.units,
            "wins": found.wins,
            "ties": found.ties,
            "losses": found.losses,
            "a_better": [_as_row(each) for each in self.first_better],
            "b_better": [_as_row(each) for each in self.second_better],
            "slices": [
                {
                    "name": each.name,
                    "n": each.n,
                    "a": each.first,
                    "b": each.second,
                    "p_value": each.p_value,
                }
                for each in self.slices
            ],
        }


@dataclass(frozen=True)
class Asked:
    """What is to be put side by side.

    Attributes:
        first, second: Two models, as `named_models` knows them.
        measure: What to compare them by; None for the objective.
        top: Examples to show each way.
    """

    first: str
    second: str
    measure: Measure | None = None
    top: int = 5


def side_by_side(
    experiment: Experiment,
    load: Callable[[], Dataset],
    ledger: Ledger,
    registry: Registry,
    asked: Asked,
) -> SideBySide:
    """Put two models of the experiment's newest sweep side by side on the validation split.

    Args:
        experiment: The experiment.
        load: Reads its data, which takes time: a name that is wrong is told before.
        ledger: Where the sweep is.
        registry: Where the champion is.
        asked: What to show.

    Raises:
        UsageError: The sweep has no such models, or the measure no score per example.
        DataError: The data changed since, or the reports cannot be paired.
    """
    sweep = known_sweep(ledger, experiment.name)
    first, second = named_models((asked.first, asked.second), experiment, sweep, ledger, registry)
    reports = ledger.report(first.trial.run_id), ledger.report(second.trial.run_id)
    measure = asked.measure or Measure.parse(sweep.objective)
    _require_scores(measure, reports)
    dataset = load()
    _require_same_data(sweep, dataset)
    comparison = compare(*reports, measure)
    [pair] = pairwise_differences(
        {"first": unit_scores(reports[0], measure), "second": unit_scores(reports[1], measure)}
    )
    better, worse = _furthest_apart(reports, measure, asked.top)

    def shown(ids: Iterable[str]) -> tuple[ScoredExample, ...]:
        return tuple(_scored(each, dataset, measure, reports) for each in ids)

    return SideBySide(
        experiment=experiment.name,
        measure=measure,
        first=first,
        second=second,
        comparison=comparison,
        p_value=pair.p_value,
        first_better=shown(better),
        second_better=shown(worse),
        slices=_slices(reports, measure),
    )


Reports = tuple[Report, Report]


def _require_same_data(sweep: OpenSweep, dataset: Dataset) -> None:
    """The texts shown must be those that the sweep measured on."""
    digest = dataset.digests[Split.VALID]
    swept = sweep.identity.get("data", {}).get(Split.VALID.value)
    if swept != digest:
        raise DataError(
            "validation split",
            dataset.sources[Split.VALID],
            f"it changed since the sweep: its digest was {str(swept)[:12]}…, is {digest[:12]}…",
            "bring the data back, or sweep over the new one with --new-study",
        )


def _require_scores(measure: Measure, reports: Reports) -> None:
    if measure.has_scores and all(measure in report.scores for report in reports):
        return
    both = [str(each) for each in reports[0].scores if each in reports[1].scores]
    raise UsageError(
        f"measure {measure}",
        "the models' reports",
        "there is no score of it per example; both reports hold " + (", ".join(both) or "none"),
        f"give --measure {both[0]}" if both else "name two other models",
    )


def _furthest_apart(reports: Reports, measure: Measure, top: int) -> tuple[list[str], list[str]]:
    """The ids where the first model is better, and where the second is, by how much."""
    ours, theirs = (report.scores[measure] for report in reports)

    def largest(gain: Callable[[str], float]) -> list[str]:
        better = (each for each in ours if gain(each) > 0)
        return sorted(better, key=lambda each: (-gain(each), each))[:top]

    return (
        largest(lambda each: ours[each] - theirs[each]),
        largest(lambda each: theirs[each] - ours[each]),
    )


def _scored(id_: str, dataset: Dataset, measure: Measure, reports: Reports) -> ScoredExample:
    found = example(dataset.valid, measure, id_)
    if found is None:
        raise DataError(
            f"example {id_!r}",
            dataset.sources[Split.VALID],
            "the reports have a score of it, the validation split does not hold it",
            "bring the data back, or sweep over the new one with --new-study",
        )
    first, second = (report.scores[measure][id_] for report in reports)
    return ScoredExample(found, first, second, reports[0].slices.get(id_))


def _slices(reports: Reports, measure: Measure) -> tuple[SliceDifference, ...]:
    first, second = reports
    worse_for_second = {each.name: each.p_worse for each in slice_changes(second, first, measure)}
    return tuple(
        SliceDifference(
            each.name,
            each.n,
            each.candidate,
            each.rival,
            min(1.0, 2 * min(each.p_worse, worse_for_second[each.name])),
        )
        for each in slice_changes(first, second, measure)
    )


def _as_row(scored: ScoredExample) -> dict[str, Any]:
    return {
        "id": scored.example.id,
        "a": scored.first,
        "b": scored.second,
        "difference": scored.difference,
        "slice": scored.slice,
        "texts": [{"name": part.name, "text": part.text} for part in scored.example.parts],
        "more_relevant": scored.example.more,
    }
