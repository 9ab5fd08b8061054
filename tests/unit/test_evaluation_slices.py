"""What a candidate changes by slice: exact, by groups, corrected for the number of slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from embedsweep.core.promotion import SLICE_ALPHA, PromotionPolicy
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import slice_changes
from embedsweep.evaluation.slices import holm

NDCG = Measure("ndcg", 10)


def reports(differences, slices, groups=None):
    """Candidate and rival whose scores differ by so much, example by example."""
    rival = {f"q{row:04}": 0.5 for row in range(len(differences))}
    ours = {each: 0.5 + d for each, d in zip(rival, differences, strict=True)}
    named = {each: name for each, name in zip(rival, slices, strict=True) if name}
    return [
        Report("b", "test", {}, {NDCG: scores}, groups or {}, named) for scores in (ours, rival)
    ]


def test_slices_by_hand():
    differences = [-0.1, -0.2, -0.3, -0.4, 0.1, 0.1, 0.1, 0.1, 0.9]
    changes = slice_changes(*reports(differences, ["short"] * 4 + ["long"] * 4 + [""]), NDCG)
    assert [(each.name, each.n) for each in changes] == [("short", 4), ("long", 4)]
    assert [each.candidate for each in changes] == pytest.approx([0.25, 0.6])
    assert [each.rival for each in changes] == [0.5, 0.5]
    assert [each.gain for each in changes] == pytest.approx([-0.25, 0.1])
    # All four lose: one pattern of sixteen, times two slices. All four gain: every pattern.
    assert [each.p_worse for each in changes] == [2 / 16, 1.0]


def test_data_without_slices_has_no_changes():
    assert slice_changes(*reports([0.1] * 5, [""] * 5), NDCG) == []


def test_the_same_evidence_gives_the_same_changes_in_any_order():
    differences = np.random.default_rng(0).normal(0, 0.1, 60)
    ours, rival = reports(differences, ["a", "b", "c"] * 20)
    turned = replace(
        ours,
        scores={NDCG: dict(reversed(ours.scores[NDCG].items()))},
        slices=dict(reversed(ours.slices.items())),
    )
    assert slice_changes(turned, rival, NDCG) == slice_changes(ours, rival, NDCG)


def test_groups_are_the_units_within_a_slice():
    differences = [-0.1] * 12
    groups = {f"q{row:04}": f"document {row // 4}" for row in range(12)}
    alone, grouped = (
        slice_changes(*reports(differences, ["a"] * 12, each), NDCG)[0] for each in ({}, groups)
    )
    assert alone.p_worse == 1 / 2**12
    assert grouped.p_worse == 1 / 2**3
    assert (alone.n, alone.gain) == (grouped.n, grouped.gain)


def test_a_group_of_two_slices_counts_in_both():
    groups = {f"q{row:04}": f"document {row % 4}" for row in range(8)}
    changes = slice_changes(*reports([-0.1] * 8, ["a"] * 4 + ["b"] * 4, groups), NDCG)
    assert [each.p_worse for each in changes] == [2 / 2**4, 2 / 2**4]


def test_holm_by_hand():
    """The example of Holm's paper has this form: each p times how many are left, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(drawn=p_values)
def test_holm_lies_between_no_correction_and_bonferronis(drawn):
    adjusted = holm(drawn)
    for p, corrected in zip(drawn, adjusted, strict=True):
        assert p <= corrected <= min(1.0, len(drawn) * p) + 1e-15
    # Benjamini and Hochberg's correction controls less, so it is never the stricter one.
    assert (np.array(adjusted) >= false_discovery_control(drawn) - 1e-12).all()
    assert sorted(adjusted) == [adjusted[row] for row in np.argsort(drawn, kind="stable")]


def worst_slices(seed, rounds=300, slices=10):
    """The least p-value over the slices of equal models, corrected and as it was."""
    generator = np.random.default_rng(seed)
    names = [f"s{row % slices}" for row in range(slices * 14)]
    corrected = []
    for _ in range(rounds):
        found = slice_changes(*reports(generator.normal(0, 0.2, len(names)), names), NDCG)
        corrected.append(min(each.p_worse for each in found))
    # The least of all is what Holm multiplies by the number of slices.
    return np.array(corrected), np.array(corrected) / slices


def test_equal_models_seldom_have_a_slice_that_got_worse():
    seed = 21
    corrected, bare = worst_slices(seed)
    assert (corrected <= SLICE_ALPHA).mean() <= 0.09, f"seed {seed}"
    # The control, without the correction: 1 - 0.95 ** 10 is 0.40.
    assert (bare <= SLICE_ALPHA).mean() > 0.3, f"seed {seed}"


def test_a_slice_that_got_worse_is_found_behind_a_gain_in_all():
    generator = np.random.default_rng(5)
    differences = generator.normal(0.05, 0.1, 200)
    differences[:40] -= 0.15
    ours, rival = reports(differences, ["hurt"] * 40 + ["rest"] * 160)
    assert differences.mean() > 0.01
    worst = slice_changes(ours, rival, NDCG)[0]
    assert (worst.name, worst.n) == ("hurt", 40)
    assert worst.p_worse <= 0.001
    policy = PromotionPolicy(slice_loss=-0.05)
    assert policy.slice_loss is not None
    assert worst.gain < policy.slice_loss
