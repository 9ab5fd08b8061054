"""Losses in the other headline metrics: how often the tests are wrong, and what they find."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.losses import LOSS_ALPHA
from embedsweep.core.report import HEADLINE, Measure, Report, headline_measures
from embedsweep.evaluation import UnitScores, metric_differences, significant_losses
from embedsweep.evaluation.resampling import Float64Array

SIX = tuple(
    Measure.parse(name)
    for name in (
        "ndcg@10",
        "mrr@10",
        "accuracy",
        "relevance_accuracy",
        "triplet_accuracy",
        "spearman",
    )
)
MRR = SIX[1]
EXAMPLES = 80
TRIES = 250
FEW = 400
"""Patterns and samples to draw: their noise is far below that of `TRIES`."""


def report_of(scores: Mapping[Measure, Float64Array], groups: int | None = None) -> Report:
    """A report of these scores by example; the examples of each metric have ids of their own."""
    by_id = {
        measure: {f"{measure}-{row}": float(value) for row, value in enumerate(values)}
        for measure, values in scores.items()
    }
    return Report(
        benchmark="b",
        split="test",
        means={measure: float(np.mean(values)) for measure, values in scores.items()},
        scores=by_id,
        groups={
            name: f"g{row % groups}"
            for rows in by_id.values()
            for row, name in enumerate(rows)
            if groups
        },
    )


def pair(seed: int, loss: Mapping[Measure, float] | None = None) -> tuple[Report, Report]:
    """A candidate and its champion, equally good except for the losses.

    The metrics differ as those of embeddings do: ranks in halves and thirds, hits of 0 and 1, and
    correlations, with a noise that all metrics of one example share.
    """
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(2, EXAMPLES))
    reports = []
    for side in range(2):
        scores: dict[Measure, Float64Array] = {}
        for measure in SIX:
            own = 0.5 * shared[side] + generator.normal(size=EXAMPLES)
            if side == 0:
                own = own - (loss or {}).get(measure, 0.0)
            if measure.k is not None:
                scores[measure] = 1 / np.clip(np.round(2.5 - own), 1, 10)
            elif measure.name == "spearman":
                scores[measure] = own
            else:
                scores[measure] = (own > -0.5).astype(np.float64)
        reports.append(report_of(scores))
    return reports[0], reports[1]


def test_a_good_candidate_is_rejected_no_more_often_than_the_level_says() -> None:
    rejected = uncorrected = 0
    for seed in range(TRIES):
        candidate, champion = pair(seed)
        found = metric_differences(candidate, champion, SIX, resamples=FEW)
        rejected += any(each.worse for each in found)
        alone = [metric_differences(candidate, champion, [each], resamples=FEW)[0] for each in SIX]
        uncorrected += any(each.worse for each in alone)
    noise = 2.5 * np.sqrt(LOSS_ALPHA * (1 - LOSS_ALPHA) / TRIES)
    assert rejected / TRIES <= LOSS_ALPHA + noise
    # The control: without the correction six metrics reject far more often.
    assert uncorrected / TRIES > 2 * LOSS_ALPHA + noise


def test_the_loss_of_the_triplet_case_is_found() -> None:
    tries = 100
    found = 0
    for seed in range(tries):
        candidate, champion = pair(seed, {MRR: 1.2})
        differences = metric_differences(candidate, champion, SIX, resamples=FEW)
        lost = next(each for each in differences if each.measure == MRR)
        assert lost.gain == pytest.approx(-0.2, abs=0.15)
        found += lost.worse
    assert found / tries >= 0.95


def units(seed: int, loss: float = 0.0, bad: int | None = None) -> Mapping[str, UnitScores]:
    """An untuned model and eight trials that share most of their luck, one of them worse."""
    generator = np.random.default_rng(seed)
    sizes = np.ones(EXAMPLES)
    made = {"untuned": UnitScores(generator.normal(size=EXAMPLES), sizes, "one")}
    shared = generator.normal(size=EXAMPLES)
    for trial in range(8):
        own = shared + 0.5 * generator.normal(size=EXAMPLES) - (loss if trial == bad else 0)
        made[f"t{trial}"] = UnitScores(own, sizes, "one")
    return made


def marked(seed: int, loss: float = 0.0, bad: int | None = None) -> set[str]:
    models = {measure: units(seed + 10_000 * place, loss, bad) for place, measure in enumerate(SIX)}
    trials = {
        f"t{number}": {measure: models[measure][f"t{number}"] for measure in SIX}
        for number in range(8)
    }
    untuned = {measure: models[measure]["untuned"] for measure in SIX}
    return set(significant_losses(trials, dict.fromkeys(trials, untuned), SIX, FEW))


def test_marks_of_a_sweep_keep_the_level_over_all_trials_and_metrics() -> None:
    tries = 200
    wrong = sum(bool(marked(seed)) for seed in range(tries))
    assert wrong / tries <= LOSS_ALPHA + 2.5 * np.sqrt(LOSS_ALPHA * (1 - LOSS_ALPHA) / tries)
    hits = [marked(seed, 0.9, bad=3) for seed in range(20)]
    assert sum("t3" in found for found in hits) >= 18


def test_a_metric_with_few_independent_examples_is_listed_and_not_tested() -> None:
    scores = np.linspace(0, 1, 60)
    worse = {MRR: scores - 0.3}
    (tested,) = metric_differences(report_of(worse), report_of({MRR: scores}), [MRR])
    assert tested.worse
    assert tested.p_worse is not None
    candidate, champion = report_of(worse, groups=29), report_of({MRR: scores}, groups=29)
    (found,) = metric_differences(candidate, champion, [MRR])
    assert (found.p_worse, found.worse, found.units, found.n) == (None, False, 29, 60)
    assert found.gain == pytest.approx(-0.3)
    (single,) = metric_differences(
        report_of(worse, groups=1), report_of({MRR: scores}, groups=1), [MRR]
    )
    assert single.interval == pytest.approx((-0.3, -0.3))


def test_groups_are_flipped_as_a_whole() -> None:
    generator = np.random.default_rng(3)
    of_group = np.repeat(generator.normal(-0.2, 0.6, 40), 10)
    order = np.argsort(np.tile(np.arange(10), 40), kind="stable")
    champion = {MRR: np.zeros(400)}
    alone = metric_differences(report_of({MRR: of_group[order]}), report_of(champion), [MRR])[0]
    together = metric_differences(
        report_of({MRR: of_group[order]}, groups=40), report_of(champion, groups=40), [MRR]
    )[0]
    assert together.units == 40
    assert alone.p_worse is not None
    assert together.p_worse is not None
    assert together.p_worse > 5 * alone.p_worse


def test_trials_that_cannot_be_paired_are_not_marked() -> None:
    sizes = np.ones(40)
    good, bad = np.full(40, 0.9), np.linspace(0.1, 0.2, 40)
    ours = {MRR: UnitScores(bad, sizes, "one")}
    same, other = ({MRR: UnitScores(good, sizes, name)} for name in ("one", "two"))
    assert significant_losses({"t": ours}, {"t": same}, [MRR])["t"][0].gain == pytest.approx(-0.75)
    assert significant_losses({"t": ours}, {"t": other}, [MRR]) == {}
    assert significant_losses({"t": ours}, {}, [MRR]) == {}
    assert significant_losses({"t": {}}, {"t": same}, [MRR]) == {}
    assert significant_losses({"t": same}, {"t": same}, [MRR]) == {}
    few = (
        {MRR: UnitScores(bad[:9], sizes[:9], "one")},
        {MRR: UnitScores(good[:9], sizes[:9], "one")},
    )
    (exact,) = significant_losses({"t": few[0]}, {"t": few[1]}, [MRR])["t"]
    assert exact.p_value == 2**-9


def test_reports_that_cannot_be_compared_say_so() -> None:
    candidate, champion = pair(1)
    with pytest.raises(UsageError, match=r"measure map in the candidate's report"):
        metric_differences(candidate, champion, [Measure("map")])
    other = report_of({MRR: np.zeros(EXAMPLES + 1)})
    with pytest.raises(DataError, match="ids that are missing"):
        metric_differences(candidate, other, [MRR])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("triplet_accuracy", "mrr@10 relevance_accuracy"),
        ("ndcg@10", "mrr@10 relevance_accuracy triplet_accuracy"),
        ("mrr@10", "ndcg@10 relevance_accuracy triplet_accuracy"),
        ("recall@5", "mrr@10 relevance_accuracy triplet_accuracy"),
        ("relevance_accuracy", "mrr@10 triplet_accuracy"),
    ],
)
def test_each_task_has_one_headline_metric_that_is_not_the_objective(
    objective: str, expected: str
) -> None:
    measured = {*SIX[:2], *SIX[3:5], Measure("map"), Measure("recall", 5)}
    found = headline_measures(measured, Measure.parse(objective))
    assert " ".join(map(str, found)) == expected


def test_every_headline_metric_can_be_tested() -> None:
    names = [name for names in HEADLINE.values() for name in names]
    assert all(Measure.parse(name).has_scores for name in names)
    assert len(set(names)) == len(names)
