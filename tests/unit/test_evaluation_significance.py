"""Comparing two reports: paired by id, by groups, refused where they do not pair."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from statistics import NormalDist, fmean

import numpy as np
import pytest

from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.promotion import PromotionPolicy, Verdict
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import compare
from embedsweep.evaluation.resampling import FINENESS, resamples_for

NDCG = Measure("ndcg", 10)
MACRO_F1 = Measure("macro_f1")
RECALL = Measure("recall", 10)


def report(scores, groups=None, means=None, benchmark="b" * 64):
    by_id = {f"q{row:04}": float(score) for row, score in enumerate(scores)}
    return Report(
        benchmark=benchmark,
        split="test",
        means={NDCG: fmean(by_id.values()) if by_id else 0.0, **(means or {})},
        scores={NDCG: by_id},
        groups=groups or {},
    )


def drawn(count, gain, seed=0):
    generator = np.random.default_rng(seed)
    base = generator.uniform(0.2, 0.8, count)
    return report(base + gain + generator.normal(0, 0.1, count)), report(base)


def test_a_comparison_by_hand():
    candidate = report([0.5, 0.9, 0.4, 0.7], means={MACRO_F1: 0.80})
    rival = report([0.1, 0.9, 0.6, 0.6], means={MACRO_F1: 0.83})
    found = compare(candidate, rival, NDCG, guards=[MACRO_F1])
    assert found.measure == NDCG
    assert found.candidate == pytest.approx(0.625)
    assert found.rival == pytest.approx(0.55)
    assert found.gain == pytest.approx(0.075)
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert (found.n, found.units) == (4, 4)
    # Differences 0.4, -0.2, 0.1: three of the eight patterns reach their sum.
    assert found.p_value == 3 / 8
    assert found.guards == {MACRO_F1: pytest.approx(-0.03)}
    differences = [0.4, 0.0, -0.2, 0.1]
    error = np.std(differences, ddof=1) / 2
    assert found.smallest_detectable == pytest.approx((1.6449 + 0.8416) * error, rel=1e-3)
    assert found.interval[0] < found.gain < found.interval[1]


def test_a_model_is_not_better_than_itself():
    same = drawn(50, 0.0)[1]
    found = compare(same, same, NDCG)
    assert found.p_value == 1.0
    assert found.gain == 0.0
    assert found.interval == (0.0, 0.0)
    assert (found.wins, found.ties, found.losses) == (0, 50, 0)
    assert PromotionPolicy().decide(found, alpha=0.05)[0] is Verdict.INCONCLUSIVE


def test_a_clear_gain_is_promoted_and_a_clear_loss_is_not():
    better, worse = drawn(200, 0.1)
    policy = PromotionPolicy()
    assert policy.decide(compare(better, worse, NDCG), alpha=0.05)[0] is Verdict.PROMOTED
    back = compare(worse, better, NDCG)
    assert policy.decide(back, alpha=0.05)[0] is Verdict.INCONCLUSIVE
    assert back.p_value > 0.99


def test_the_same_evidence_gives_the_same_numbers_in_any_order():
    candidate, rival = drawn(120, 0.02)
    turned = replace(candidate, scores={NDCG: dict(reversed(candidate.scores[NDCG].items()))})
    assert compare(turned, rival, NDCG) == compare(candidate, rival, NDCG)


def test_groups_are_the_units():
    candidate, rival = drawn(200, 0.02)
    groups = {each: f"document {row // 5}" for row, each in enumerate(candidate.scores[NDCG])}
    found = compare(replace(candidate, groups=groups), replace(rival, groups=groups), NDCG)
    alone = compare(candidate, rival, NDCG)
    assert (found.n, found.units) == (200, 40)
    assert (alone.n, alone.units) == (200, 200)
    assert found.gain == alone.gain


def test_an_id_without_a_group_stands_alone_even_beside_a_group_of_its_name():
    candidate, rival = drawn(6, 0.02)
    groups = {"q0000": "q0005", "q0001": "q0005"}
    found = compare(replace(candidate, groups=groups), replace(rival, groups=groups), NDCG)
    assert found.units == 5


def test_equal_groups_widen_the_interval():
    """The same differences, once as independent and once as copies of each other."""
    generator = np.random.default_rng(3)
    differences = np.repeat(generator.normal(0.02, 0.1, 40), 5)
    candidate, rival = report(0.5 + differences), report(np.full(200, 0.5))
    groups = {each: f"g{row // 5}" for row, each in enumerate(candidate.scores[NDCG])}
    alone = compare(candidate, rival, NDCG)
    grouped = compare(replace(candidate, groups=groups), replace(rival, groups=groups), NDCG)
    width = [high - low for low, high in (alone.interval, grouped.interval)]
    assert width[1] == pytest.approx(width[0] * np.sqrt(5), rel=0.15)
    assert grouped.smallest_detectable > 2 * alone.smallest_detectable
    assert grouped.p_value > alone.p_value


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.05 / 2**5, 0.05 / 2**10])
def test_a_small_level_asks_for_a_larger_gain_and_a_finer_p_value(alpha):
    candidate, rival = drawn(60, 0.3)
    found = compare(candidate, rival, NDCG, alpha=alpha)
    differences = [
        candidate.scores[NDCG][each] - rival.scores[NDCG][each] for each in rival.scores[NDCG]
    ]
    error = np.std(differences, ddof=1) / np.sqrt(60)
    quantile = NormalDist().inv_cdf
    assert found.smallest_detectable == pytest.approx((quantile(1 - alpha) + quantile(0.8)) * error)
    # Every query gains, so that no other pattern reaches the observed one.
    assert found.p_value == pytest.approx(1 / (resamples_for(alpha) + 1))
    assert found.p_value <= alpha / FINENESS
    assert found.interval == compare(candidate, rival, NDCG).interval


def test_without_a_level_it_is_one_minus_the_confidence():
    candidate, rival = drawn(60, 0.02)
    assert compare(candidate, rival, NDCG) == compare(candidate, rival, NDCG, alpha=1 - 0.95)


def test_control_the_usual_number_of_patterns_cannot_show_so_small_a_p_value():
    candidate, rival = drawn(60, 0.3)
    assert compare(candidate, rival, NDCG).p_value > 0.05 / 2**10


def test_a_measure_without_scores_cannot_be_compared():
    candidate, rival = drawn(40, 0.0)
    with pytest.raises(UsageError, match=r"macro_f1 .* no score per example"):
        compare(candidate, rival, MACRO_F1)


def test_all_measures_a_report_lacks_are_named_at_once():
    candidate, rival = drawn(40, 0.0)
    with pytest.raises(UsageError) as error:
        compare(candidate, rival, RECALL, guards=[MACRO_F1])
    assert len(error.value.faults) == 4
    assert "measure recall@10 in the candidate's report" in str(error.value)
    assert "the report holds ndcg@10" in str(error.value)


def changed(of, **scores):
    return replace(of, scores={NDCG: {**of.scores[NDCG], **scores}})


def without(of, missing):
    kept = {each: score for each, score in of.scores[NDCG].items() if each != missing}
    return replace(of, scores={NDCG: kept})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda good: without(good, "q0003"), "missing in the candidate's report: 1 found"),
        (lambda good: changed(good, extra=0.5), "missing in the rival's report: 1 found"),
        (lambda good: changed(good, q0003=nan), "not finite in the candidate's report: 1 found"),
        (lambda good: changed(good, q0003=inf), "not finite in the candidate's report: 1 found"),
        (lambda good: replace(good, benchmark="c" * 64), "reports on different benchmarks"),
        (lambda good: replace(good, groups={"q0003": "g"}), "different groups"),
        (
            lambda good: replace(good, means={**good.means, MACRO_F1: nan}),
            "not finite in the candidate's report: 1 found, expected none: macro_f1",
        ),
    ],
)
def test_reports_that_do_not_pair_are_refused(spoil, said):
    candidate, rival = (
        replace(each, means={**each.means, MACRO_F1: 0.8}) for each in drawn(40, 0.1)
    )
    compare(candidate, rival, NDCG, guards=[MACRO_F1])
    with pytest.raises(DataError) as error:
        compare(spoil(candidate), rival, NDCG, guards=[MACRO_F1])
    assert said in str(error.value)
    assert error.value.exit_code == 3


def test_everything_that_is_wrong_is_said_at_once():
    candidate, rival = drawn(40, 0.1)
    broken = replace(changed(without(candidate, "q0001"), q0002=nan, extra=1.0), benchmark="c")
    with pytest.raises(DataError) as error:
        compare(broken, rival, NDCG)
    assert len(error.value.faults) == 4


def test_many_ids_are_counted_and_the_first_shown():
    candidate, rival = drawn(40, 0.1)
    few = replace(candidate, scores={NDCG: {"q0000": 0.5}})
    with pytest.raises(DataError, match=r"39 found, .* q0001, q0002, q0003, q0004, q0005, …"):
        compare(few, rival, NDCG)


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_unit_shows_no_spread_and_is_refused(count):
    with pytest.raises(DataError, match="at least 2"):
        compare(report([0.5] * count), report([0.4] * count), NDCG)


def test_two_queries_of_one_group_are_a_single_unit():
    groups = {"q0000": "g", "q0001": "g"}
    with pytest.raises(DataError, match="at least 2"):
        compare(report([0.5, 0.6], groups), report([0.4, 0.4], groups), NDCG)
