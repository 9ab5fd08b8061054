"""All pairs at once: the error of the family holds, and what is alike costs little power."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import combinations, product
from math import nan
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import bootstrap, permutation_test, ttest_1samp, ttest_rel

from embedsweep.core.errors import DataError
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import mean_intervals, pairwise_differences, unit_scores
from embedsweep.evaluation.pairwise import FAMILY_ALPHA, UnitScores
from embedsweep.evaluation.resampling import BATCH_BYTES, bca_interval, sign_flip_p_value

NDCG = Measure("ndcg", 10)


def models(scores, sizes=None):
    """One model a row; the columns are units."""
    sizes = np.ones(np.shape(scores)[1]) if sizes is None else np.asarray(sizes, dtype=float)
    return {
        f"m{row}": UnitScores(np.asarray(sums, dtype=float), sizes, "same")
        for row, sums in enumerate(scores)
    }


def p_values(scores, **options):
    return [each.p_value for each in pairwise_differences(models(scores), **options)]


def report(scores, groups=None):
    by_id = {f"q{row:03}": float(score) for row, score in enumerate(scores)}
    return Report("b" * 64, "valid", {NDCG: fmean(by_id.values())}, {NDCG: by_id}, groups or {})


# -- what it computes


def test_every_pattern_is_counted_and_the_statistic_is_students_t_of_each():
    generator = np.random.default_rng(1)
    spreads, means = [[0.1], [0.3], [0.5], [0.2]], [[0.0], [0.1], [0.3], [0.4]]
    scores = generator.normal(means, spreads, (4, 8))
    pairs = np.array([scores[a] - scores[b] for a, b in combinations(range(4), 2)])
    observed = np.abs(ttest_1samp(pairs, 0, axis=1).statistic)
    signs = np.array(list(product((1, -1), repeat=8)))
    flipped = np.abs(ttest_1samp(signs[:, np.newaxis] * pairs, 0, axis=2).statistic)
    reached = flipped.max(axis=1)[:, np.newaxis] >= observed * (1 - 1e-9)
    assert p_values(scores) == pytest.approx(list(reached.mean(axis=0)), abs=1e-12)


def test_two_models_get_the_plain_permutation_test():
    generator = np.random.default_rng(2)
    scores = generator.normal([[0.9], [0.0]], 1, (2, 10))
    apart = scores[0] - scores[1]
    found = permutation_test(
        (scores[0], scores[1]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert p_values(scores) == pytest.approx([found.pvalue])
    assert p_values(scores) == pytest.approx([2 * sign_flip_p_value(apart)])


@pytest.mark.parametrize("gain", [0.02, 0.05, -0.05])
def test_two_models_on_many_units_agree_with_the_one_sided_test(gain):
    apart = np.random.default_rng(3).normal(gain, 0.2, 200)
    one_sided = sign_flip_p_value(np.sign(gain) * apart)
    assert p_values([apart, np.zeros(200)]) == pytest.approx([2 * one_sided], abs=0.015)


def test_gains_are_of_first_over_second_in_the_order_of_the_names():
    found = pairwise_differences(models([[1, 0, 1], [0, 0, 1], [1, 1, 1]], sizes=[1, 1, 2]))
    assert [(each.first, each.second) for each in found] == [
        ("m0", "m1"),
        ("m0", "m2"),
        ("m1", "m2"),
    ]
    assert [each.gain for each in found] == pytest.approx([0.25, -0.25, -0.5])


def test_equal_models_are_no_error_and_no_evidence():
    one, other = np.random.default_rng(4).normal(0, 1, (2, 60))
    first, equal, apart = pairwise_differences(models([one, one, other + 1]))
    assert first.p_value == 1.0
    assert (first.gain, first.real) == (0.0, False)
    assert (equal.real, apart.real) == (True, True)
    assert p_values(np.zeros((3, 40))) == [1.0, 1.0, 1.0]
    assert p_values(np.zeros((3, 4))) == [1.0, 1.0, 1.0]


def test_last_bits_are_no_difference():
    assert 0.1 + 0.2 != 0.3
    assert p_values([[0.1 + 0.2] * 50, [0.3] * 50, np.linspace(0, 1, 50)])[0] == 1.0


def test_control_without_the_tolerance_last_bits_would_be_the_surest_difference():
    apart = np.full(50, 0.1 + 0.2) - np.full(50, 0.3)
    assert sign_flip_p_value(apart) < 0.001


def test_one_model_and_none_have_no_pairs():
    assert pairwise_differences({}) == ()
    assert pairwise_differences(models([[1, 2, 3]])) == ()
    assert mean_intervals([]) == []


def test_a_difference_on_few_queries_is_never_real():
    base = np.random.default_rng(5).uniform(0, 1, 300)
    nearly = base.copy()
    nearly[:4] += 0.5
    assert p_values([nearly, base])[0] > FAMILY_ALPHA


# -- the error of the family


def equal_models(generator, units, spread=1.0):
    """Twelve models of one true quality on examples of unequal difficulty; some are alike."""
    difficulty = generator.normal(0, 1, units)
    shared = generator.normal(0, spread, (4, units)).repeat(3, axis=0)
    return difficulty + shared + generator.normal(0, 0.5, (12, units))


def any_real(scores, sizes=None):
    found = pairwise_differences(models(scores, sizes), resamples=299)
    return any(each.real for each in found)


def test_equal_models_are_called_different_in_no_more_than_one_family_of_twenty():
    generator = np.random.default_rng(6)
    rounds = 500
    false, uncorrected = 0, 0
    for _ in range(rounds):
        scores = equal_models(generator, 60)
        false += any_real(scores)
        pairs = np.array([scores[a] - scores[b] for a, b in combinations(range(12), 2)])
        uncorrected += (ttest_1samp(pairs, 0, axis=1).pvalue <= FAMILY_ALPHA).any()
    # 5 % and three standard errors of it; not much below, or power were given away.
    assert 0.02 <= false / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    assert uncorrected / rounds > 0.45


def test_queries_of_one_group_do_not_count_as_independent():
    generator = np.random.default_rng(7)
    rounds, controls = 300, 60
    false, ungrouped = 0, 0
    for each in range(rounds):
        # 40 groups of 2 to 8 queries; half of the variance is the group's.
        sizes = generator.integers(2, 9, 40)
        common = equal_models(generator, 40, 0.5).repeat(sizes, axis=1)
        scores = common + generator.normal(0, 0.7, common.shape)
        starts = np.cumsum(sizes) - sizes
        false += any_real(np.add.reduceat(scores, starts, axis=1), sizes)
        ungrouped += each < controls and any_real(scores)
    assert false / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    assert ungrouped / controls > 0.25


def test_models_that_are_alike_cost_less_than_bonferroni_takes():
    """Twenty strengths of one change: their 190 pairs are hardly more than one question."""
    generator = np.random.default_rng(8)
    strengths = np.linspace(0, 1, 20)[:, np.newaxis]
    found, by_bonferroni, by_chance = 0, 0, 0
    rounds, pairs = 40, 190
    for _ in range(rounds):
        base, change = generator.normal(0, 1, 100), generator.normal(0.27, 1, 100)
        scores = base + strengths * change + generator.normal(0, 0.02, (20, 100))
        ends = pairwise_differences(models(scores), resamples=999)[18]
        assert (ends.first, ends.second) == ("m0", "m19")
        p_value = ttest_rel(scores[0], scores[19]).pvalue
        found += ends.real
        by_bonferroni += p_value * pairs <= FAMILY_ALPHA
        by_chance += p_value <= FAMILY_ALPHA
    assert by_bonferroni + rounds / 10 < found <= by_chance


def test_a_real_difference_among_many_equal_models_is_found():
    generator = np.random.default_rng(9)
    scores = generator.normal(0, 0.2, 400) + generator.normal(0, 0.1, (30, 400))
    scores[7] += 0.05
    found = pairwise_differences(models(scores))
    real = [each for each in found if each.real]
    assert sum("m7" in (each.first, each.second) for each in real) == 29
    assert len(real) <= 30


# -- reports


def test_units_are_groups_and_the_queries_outside_of_any():
    groups = {"q000": "a", "q002": "a"}
    found = unit_scores(report([0.1, 0.2, 0.5, 0.4], groups), NDCG)
    assert found.sums == pytest.approx([0.6, 0.2, 0.4])
    assert list(found.sizes) == [2, 1, 1]
    assert found.mean == pytest.approx(0.3)


def test_only_what_was_measured_on_the_same_examples_is_paired():
    good = report([0.1, 0.2, 0.3])
    same = unit_scores(report([0.3, 0.1, 0.2]), NDCG)
    others = (
        replace(good, benchmark="c" * 64),
        replace(good, groups={"q000": "a"}),
        replace(good, scores={NDCG: {"q000": 0.1, "q001": 0.2, "q004": 0.3}}),
    )
    assert unit_scores(good, NDCG).identity == same.identity
    assert pairwise_differences({"a": unit_scores(good, NDCG), "b": same})
    for other in others:
        with pytest.raises(DataError, match="cannot be paired"):
            pairwise_differences({"a": unit_scores(other, NDCG), "b": same})


def test_a_report_without_the_measure_or_with_nan_is_refused():
    with pytest.raises(DataError, match=r"recall@5 .* the report holds ndcg@10"):
        unit_scores(report([0.1, 0.2]), Measure("recall", 5))
    with pytest.raises(DataError, match="1 scores are not finite, among them q001"):
        unit_scores(report([0.1, nan]), NDCG)


# -- intervals


def test_the_intervals_are_those_of_each_model_alone():
    generator = np.random.default_rng(10)
    sizes = generator.integers(1, 6, 80).astype(float)
    scores = generator.beta(0.5, 0.3, (3, 80)) * sizes
    together = mean_intervals(list(models(scores, sizes).values()))
    for sums, interval in zip(scores, together, strict=True):
        alone = bca_interval(sums, sizes, 0.95)
        assert interval == pytest.approx(alone, abs=0.03 * (alone[1] - alone[0]))


def test_the_interval_agrees_with_scipy():
    scores = np.random.default_rng(11).beta(0.4, 0.2, 150)
    [interval] = mean_intervals(list(models([scores]).values()))
    theirs = bootstrap((scores,), np.mean, method="BCa", rng=np.random.default_rng(0))
    low, high = theirs.confidence_interval
    assert interval == pytest.approx((low, high), abs=0.03 * (high - low))


def test_a_score_that_never_varies_has_an_interval_of_no_width():
    found = mean_intervals(list(models([[0.3] * 20, np.linspace(0, 1, 20)]).values()))
    assert found[0] == (pytest.approx(0.3), pytest.approx(0.3))
    assert found[1][0] < 0.5 < found[1][1]


# -- cost


def test_memory_stays_bounded():
    scores = np.random.default_rng(12).uniform(0, 1, (50, 1000))
    every = models(scores)
    tracemalloc.start()
    pairwise_differences(every, resamples=4000)
    mean_intervals(list(every.values()), resamples=4000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * BATCH_BYTES
