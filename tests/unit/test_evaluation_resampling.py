"""The statistics: exact where they can be, calibrated where they are drawn."""

from __future__ import annotations

import tracemalloc
from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import bootstrap, permutation_test

from embedsweep.evaluation.resampling import (
    BATCH_BYTES,
    EXACT_UNITS,
    FINENESS,
    RESAMPLES,
    bca_interval,
    resamples_for,
    sign_flip_p_value,
    smallest_detectable,
    standard_error,
)


def ones(sums):
    return np.ones(len(sums))


@pytest.mark.parametrize("losses", range(9))
def test_eight_units_follow_the_binomial_exactly(losses):
    sums = np.array([-0.1] * losses + [0.1] * (8 - losses))
    # The mean depends only on how many are positive: at least as many as observed.
    expected = sum(comb(8, wins) for wins in range(8 - losses, 9)) / 2**8
    assert sign_flip_p_value(sums) == expected


def test_distinct_gains_on_every_unit_have_one_pattern_in_all():
    sums = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    assert sign_flip_p_value(sums) == 1 / 2**8
    assert sign_flip_p_value(-sums) == 1.0


def test_rounding_does_not_decide_what_is_at_least_the_observed():
    # 0.1 + 0.2 - 0.3 is 5.6e-17, not 0: of eight patterns five are at least the observed sum.
    assert sign_flip_p_value(np.array([0.1, 0.2, -0.3])) == 5 / 8
    assert sign_flip_p_value(np.array([-0.3, 0.2, 0.1])) == 5 / 8


def test_control_comparing_the_bare_sums_lets_the_order_of_addition_decide():
    sums = [0.1, 0.2, -0.3]
    patterns = [
        sum(sign * each for sign, each in zip(signs, reversed(sums), strict=True))
        for signs in product((1, -1), repeat=3)
    ]
    assert sum(each >= sum(sums) for each in patterns) < 5


def test_no_difference_at_all_is_no_evidence():
    assert sign_flip_p_value(np.zeros(500)) == 1.0


def test_units_without_a_difference_change_nothing():
    sums = np.array([0.3, -0.1, 0.2, 0.2, 0.05])
    assert sign_flip_p_value(np.append(sums, np.zeros(400))) == sign_flip_p_value(sums)


@pytest.mark.parametrize("seed", range(3))
def test_drawn_patterns_agree_with_scipy(seed):
    sums = np.random.default_rng(seed).normal(0.05, 0.2, 60)
    expected = permutation_test(
        (sums,),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).pvalue
    noise = 4 * np.sqrt(expected * (1 - expected) * (1 / 10_000 + 1 / 20_000))
    assert sign_flip_p_value(sums) == pytest.approx(expected, abs=noise)


def test_the_exact_value_lies_within_the_noise_of_the_drawn_one():
    sums = np.random.default_rng(4).normal(0.05, 0.2, EXACT_UNITS)
    exact = sign_flip_p_value(sums)
    # A negligible unit more and the patterns are drawn.
    drawn = sign_flip_p_value(np.append(sums, 1e-9))
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000))


def test_a_p_value_is_never_zero():
    sums = np.full(200, 0.5)
    assert sign_flip_p_value(sums) == 1 / 10_001
    assert sign_flip_p_value(sums, resamples=99) == 1 / 100


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.05 / 2**5, 1e-4, 0.3 / 7])
def test_the_least_p_value_is_far_below_the_level(alpha):
    patterns = resamples_for(alpha)
    assert patterns >= RESAMPLES
    assert 1 / (patterns + 1) < alpha / FINENESS


@pytest.mark.parametrize("units", [0, 1, 7, 8, 9, 15, 16])
def test_every_pattern_is_counted_once(units):
    """Against all signs, one by one: units come in sets of eight, the last one not full."""
    sums = np.random.default_rng(units).normal(0.1, 0.2, units)
    signs = np.array(list(product((1, -1), repeat=units)))
    expected = ((signs * sums).sum(axis=1) >= sums.sum() - 1e-12).mean()
    assert sign_flip_p_value(sums) == expected


def false_positive_rate(rounds, draw, level=0.05):
    generator = np.random.default_rng(11)
    p_values = np.array([sign_flip_p_value(draw(generator), 400) for _ in range(rounds)])
    return float((p_values <= level).mean())


def test_equal_models_are_told_apart_in_five_of_a_hundred():
    rate = false_positive_rate(600, lambda generator: generator.normal(0, 0.2, 200))
    assert 0.05 - 3 * 0.0089 <= rate <= 0.05 + 3 * 0.0089


def clustered(generator, documents=40, queries=5):
    """Differences of equal models with an intra-class correlation of 0.5."""
    shared = generator.normal(0, 1, (documents, 1))
    return np.sqrt(0.5) * shared + np.sqrt(0.5) * generator.normal(0, 1, (documents, queries))


def test_groups_keep_the_rate_where_queries_depend_on_each_other():
    rate = false_positive_rate(600, lambda generator: clustered(generator).sum(axis=1))
    assert rate <= 0.08


def test_control_ignoring_the_groups_finds_what_is_not_there():
    rate = false_positive_rate(600, lambda generator: clustered(generator).ravel())
    assert rate > 0.10


def test_a_real_gain_is_found():
    generator = np.random.default_rng(12)
    found = [sign_flip_p_value(generator.normal(0.03, 0.2, 500), 400) <= 0.05 for _ in range(200)]
    assert np.mean(found) >= 0.90


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_scipys_bca(seed, confidence):
    # Skewed, so that the bias and the acceleration matter.
    sums = np.random.default_rng(seed).exponential(0.2, 80) - 0.15
    expected = bootstrap(
        (sums,),
        np.mean,
        confidence_level=confidence,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    interval = bca_interval(sums, ones(sums), confidence)
    assert interval == pytest.approx((expected.low, expected.high), abs=0.004)


def test_control_the_interval_is_not_the_plain_percentile_one():
    sums = np.random.default_rng(0).exponential(0.2, 30) ** 2
    plain = bootstrap(
        (sums,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert bca_interval(sums, ones(sums), 0.95)[1] > plain.high + 0.004


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(13)
    covered = []
    for _ in range(300):
        sums = generator.exponential(0.2, 100)
        low, high = bca_interval(sums, ones(sums), 0.9, resamples=400)
        covered.append(low <= 0.2 <= high)
    assert 0.85 <= np.mean(covered) <= 0.95


def test_equal_differences_give_a_point():
    for gain in (0.0, 0.1, -0.25):
        sums = np.full(50, gain)
        assert bca_interval(sums, ones(sums), 0.95) == pytest.approx((gain, gain))
    sizes = np.array([1.0, 2.0, 5.0])
    assert bca_interval(0.1 * sizes, sizes, 0.95) == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.9999])
@pytest.mark.parametrize("sums", [[0.0, 1.0], [0.0] * 30 + [1.0], [-1.0, 0.5, 0.5]])
def test_the_ends_stay_in_order_within_the_data(sums, confidence):
    low, high = bca_interval(np.array(sums), ones(sums), confidence)
    assert min(sums) <= low <= high <= max(sums)


def test_a_group_counts_by_its_size():
    sums, sizes = np.array([0.4, 0.2, -0.1]), np.array([4.0, 1.0, 1.0])
    low, high = bca_interval(sums, sizes, 0.95)
    assert -0.1 - 1e-9 <= low < sums.sum() / sizes.sum() < high <= 0.2 + 1e-9


def test_standard_error_by_hand():
    sums = np.array([0.1, 0.4, -0.2, 0.3])
    assert standard_error(sums, ones(sums)) == pytest.approx(np.std(sums, ddof=1) / 2)
    pairs = np.full(2, 2.0)
    # Two groups of two with means 0.25 and 0.05: the error is that of two units.
    assert standard_error(np.array([0.5, 0.1]), pairs) == pytest.approx(
        np.std([0.25, 0.05], ddof=1) / np.sqrt(2)
    )


def test_the_smallest_detectable_gain_is_found_in_four_of_five_tries():
    generator = np.random.default_rng(14)
    gain = smallest_detectable(generator.normal(0, 0.2, 100_000)[:200], np.ones(200), 0.95)
    assert gain == pytest.approx((1.6449 + 0.8416) * 0.2 / np.sqrt(200), rel=0.15)
    gain = (1.6449 + 0.8416) * 0.2 / np.sqrt(200)
    found = [sign_flip_p_value(generator.normal(gain, 0.2, 200), 400) <= 0.05 for _ in range(300)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


@pytest.mark.parametrize("statistic", ["p_value", "interval"])
def test_memory_does_not_grow_with_the_number_of_resamples(statistic):
    sums = np.random.default_rng(0).normal(0, 1, 5_000)
    tracemalloc.start()
    if statistic == "p_value":
        sign_flip_p_value(sums, 2_000)
    else:
        bca_interval(sums, ones(sums), 0.95, 2_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All patterns at once would take 5 000 x 2 000 doubles, 80 MB.
    assert peak < 3 * BATCH_BYTES
