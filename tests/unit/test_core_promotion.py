"""Measures, verdicts and the choice of the best."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedsweep.core.errors import DataError, Fault
from embedsweep.core.losses import OFF, MetricDifference
from embedsweep.core.promotion import (
    Comparison,
    Decision,
    PromotionPolicy,
    SliceChange,
    Verdict,
)
from embedsweep.core.recipe import BaselineRecipe
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Role, Trial, best_trial

NDCG = Measure("ndcg", 10)
GOOD = Comparison(
    measure=NDCG,
    candidate=0.55,
    rival=0.50,
    gain=0.05,
    interval=(0.03, 0.07),
    p_value=0.001,
    n=200,
    units=200,
    wins=90,
    ties=60,
    losses=50,
    smallest_detectable=0.02,
    guards={Measure("accuracy"): -0.002},
)
POLICY = PromotionPolicy(
    confidence=0.95, guards={Measure("accuracy"): -0.01}, slice_loss=-0.05, max_latency=2.0
)
ALPHA = 0.025


@pytest.mark.parametrize("text", ["ndcg@10", "mrr@1", "map", "accuracy", "knn_macro_f1"])
def test_a_measure_prints_as_it_was_read(text: str) -> None:
    measure = Measure.parse(text)
    assert str(measure) == text
    assert Measure.parse(measure.key("valid").removeprefix("valid/")) == measure
    assert "@" not in measure.key("valid")


@pytest.mark.parametrize(
    "text", ["ndcg", "ndcg@0", "ndcg@abc", "accuracy@3", "bleu", "", "ndcg@-1"]
)
def test_what_is_no_measure_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"known are ndcg@k.*spearman"):
        Measure.parse(text)


def test_evidence_promotes() -> None:
    assert POLICY.decide(GOOD, ALPHA)[0] is Verdict.PROMOTED


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"p_value": 0.06}, Verdict.INCONCLUSIVE, "p = 0.06"),
        ({"interval": (-0.001, 0.07)}, Verdict.INCONCLUSIVE, "interval begins"),
        ({"guards": {Measure("accuracy"): -0.02}}, Verdict.REFUSED, "the guard allows -0.0100"),
        ({"units": 29}, Verdict.REFUSED, "at least 30"),
        ({"p_value": ALPHA * 1.01}, Verdict.INCONCLUSIVE, "needed at most 0.025"),
        ({"dimensions": (512, 384)}, Verdict.REFUSED, "512 dimensions, the champion's 384"),
        ({"latencies": (0.021, 0.01)}, Verdict.REFUSED, "21.0 ms, the champion 10.0 ms"),
    ],
)
def test_each_rule_can_withhold_promotion(
    change: dict[str, object], verdict: Verdict, reason: str
) -> None:
    found, reasons = POLICY.decide(replace(GOOD, **change), ALPHA)  # type: ignore[arg-type]
    assert found is verdict
    assert any(reason in line for line in reasons)


def test_a_minimum_gain_must_lie_below_the_interval() -> None:
    assert PromotionPolicy(min_gain=0.02).decide(GOOD, ALPHA)[0] is Verdict.PROMOTED
    assert PromotionPolicy(min_gain=0.03).decide(GOOD, ALPHA)[0] is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "change",
    [
        {"p_value": ALPHA},
        {"dimensions": (384, 384)},
        {"dimensions": None},
        {"latencies": (0.02, 0.01)},
    ],
)
def test_what_a_rule_just_allows_promotes(change: dict[str, object]) -> None:
    assert POLICY.decide(replace(GOOD, **change), ALPHA)[0] is Verdict.PROMOTED  # type: ignore[arg-type]


def test_guards_not_asked_for_withhold_nothing() -> None:
    free = PromotionPolicy(any_dimension=True)
    odd = replace(GOOD, dimensions=(512, 384), latencies=(9.0, 0.01))
    slices = [SliceChange("de", 50, 0.1, 0.9, 0.0001)]
    assert free.decide(odd, ALPHA, slices)[0] is Verdict.PROMOTED


def test_a_slice_withholds_promotion_where_it_loses_much_and_not_by_chance() -> None:
    clearly = SliceChange("de", 50, 0.50, 0.60, 0.001)
    perhaps = SliceChange("fr", 5, 0.40, 0.60, 0.2)
    little = SliceChange("it", 500, 0.58, 0.60, 0.0001)
    assert POLICY.decide(GOOD, ALPHA, [perhaps, little])[0] is Verdict.PROMOTED
    verdict, reasons = POLICY.decide(GOOD, ALPHA, [perhaps, little, clearly])
    assert verdict is Verdict.REFUSED
    assert reasons == (
        "1 of 3 slices lose more than -0.0500 allows: 'de' -0.1000 (n = 50, p = 0.001)",
    )


MRR = Measure("mrr", 10)
LOST = MetricDifference(MRR, 0.5, 0.7, (-0.3, -0.1), 200, 200, 0.0002)
NOT_TESTED = replace(LOST, measure=Measure("spearman"), units=12, p_worse=None)


@pytest.mark.parametrize(
    ("difference", "refused"),
    [
        (LOST, True),
        (replace(LOST, p_worse=0.05), True),
        (replace(LOST, p_worse=0.0501), False),
        (replace(LOST, guard=OFF), False),
        (replace(LOST, guard=-0.3), False),
        (NOT_TESTED, False),
    ],
)
def test_a_significant_loss_in_a_headline_metric_rejects(
    difference: MetricDifference, refused: bool
) -> None:
    verdict, reasons = POLICY.decide(replace(GOOD, differences=(difference,)), ALPHA)
    assert (verdict is Verdict.REFUSED) is refused
    if refused:
        assert reasons[0].startswith("mrr@10 is significantly worse: 0.5000, champion 0.7000 (-0.2")
        assert reasons[0].endswith("'guards: {mrr@10: off}' allows it")


def test_a_number_as_guard_rejects_a_larger_loss_whether_significant_or_not() -> None:
    policy = PromotionPolicy(guards={MRR: -0.1})
    weak = replace(LOST, p_worse=0.9, guard=-0.1)
    comparison = replace(GOOD, guards={MRR: -0.2}, differences=(weak,))
    verdict, reasons = policy.decide(comparison, ALPHA)
    assert verdict is Verdict.REFUSED
    assert reasons == ("mrr@10 changes by -0.2000, the guard allows -0.1000",)
    assert policy.allows(MRR, -0.1)
    assert not policy.allows(MRR, -0.11)
    assert not POLICY.allows(MRR, -0.001)
    assert PromotionPolicy(unguarded=frozenset({MRR})).allows(MRR, -0.9)


def decided(verdict: Verdict, *differences: MetricDifference) -> Decision:
    return Decision(
        verdict=verdict,
        model="m",
        version=2,
        previous_version=1,
        champion_version=2,
        comparison=replace(
            GOOD,
            confidence=0.9,
            dimensions=(384, 384),
            latencies=(0.2, 0.1),
            differences=differences,
        ),
        trials_tried=12,
        look=1,
        alpha=0.025,
        reasons=("because",),
        candidate_run="a",
        rival_run="b",
        candidate_fingerprint="c",
        rival_fingerprint="d",
        benchmark="e",
        at="2026-01-01T00:00:00+00:00",
        by="someone",
    )


@pytest.mark.parametrize(
    ("before", "policy", "lifted"),
    [
        (LOST, PromotionPolicy(unguarded=frozenset({MRR})), True),
        (LOST, PromotionPolicy(guards={MRR: -0.5}), True),
        (LOST, PromotionPolicy(guards={MRR: -0.1}), False),
        (LOST, PromotionPolicy(), False),
        (LOST, PromotionPolicy(unguarded=frozenset({NDCG})), False),
        (replace(LOST, guard=-0.1), PromotionPolicy(unguarded=frozenset({MRR})), True),
        (replace(LOST, guard=OFF), PromotionPolicy(), False),
        (NOT_TESTED, PromotionPolicy(unguarded=frozenset({NOT_TESTED.measure})), False),
    ],
)
def test_a_guard_lifts_the_decision_that_rejected_its_loss(
    before: MetricDifference, policy: PromotionPolicy, lifted: bool
) -> None:
    assert policy.lifts(decided(Verdict.REFUSED, before)) is lifted
    assert not policy.lifts(decided(Verdict.PROMOTED, before))
    assert not policy.lifts(replace(decided(Verdict.REFUSED, before), comparison=None))


def test_a_decision_comes_back_from_json() -> None:
    decision = decided(Verdict.PROMOTED, LOST, replace(NOT_TESTED, guard=-0.1))
    again = Decision.from_dict(json.loads(json.dumps(decision.as_dict())))
    assert again == decision


def test_a_record_without_differences_is_read() -> None:
    decision = decided(Verdict.PROMOTED)
    record = json.loads(json.dumps(decision.as_dict()))
    del record["comparison"]["differences"]
    assert Decision.from_dict(record) == decision


def test_a_report_comes_back_from_json() -> None:
    report = Report(
        "b",
        "valid",
        {NDCG: 0.5},
        {NDCG: {"q": 0.5}},
        groups={"q": "g"},
        slices={"q": "s"},
        per_class={"x": {"f1": 1.0}},
    )
    assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report
    assert report.metrics() == {"valid/ndcg_at_10": 0.5}


def trial(number: int, score: float, outcome: Outcome, reference: str | None = "m") -> Trial:
    return Trial(
        number=number,
        role=Role.TRIAL,
        arm="local",
        recipe=BaselineRecipe(method="untuned", base_model="m"),
        fingerprint=str(number),
        outcome=outcome,
        metrics={NDCG.key("valid"): score},
        model_reference=reference,
    )


def test_the_best_is_a_completed_trial_with_a_model_and_the_earliest_of_equals() -> None:
    trials = [
        trial(0, 0.9, Failed("collapsed", "all alike")),
        trial(1, 0.8, Pruned(1)),
        trial(2, 0.7, Completed(), reference=None),
        trial(4, 0.6, Completed()),
        trial(3, 0.6, Completed()),
    ]
    best = best_trial(trials, NDCG)
    assert best is not None
    assert best.number == 3
    assert best_trial(trials, NDCG, Role.BASELINE) is None
    assert best_trial(trials[:3], NDCG) is None


def test_a_failure_has_no_score_and_says_why() -> None:
    failed = trial(0, 0.9, Failed("collapsed", "all alike"))
    assert failed.score(NDCG) is None
    assert failed.as_dict()["failure"] == {"kind": "collapsed", "message": "all alike"}
    assert failed.as_dict()["state"] == "failed"


def test_twenty_faults_are_spelt_out_and_all_are_counted() -> None:
    faults = [Fault("bad row", "train.jsonl", f"row {i}", "mend it", line=i) for i in range(25)]
    text = str(DataError.of(faults, total=300))
    assert text.count("error: bad row in train.jsonl:") == 20
    assert "300 faults in all" in text
    assert DataError.exit_code == 3
