"""Measures of pairs and triplets: relevance, similarity, triplet accuracy."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, f1_score

from embedsweep.core.dataset import RelevanceTask, SimilarityTask, TripletTask
from embedsweep.evaluation.relevance import (
    ACCURACY,
    AVERAGE_PRECISION,
    F1,
    accuracy_threshold,
    can_tell_relevance,
    f1_threshold,
    relevance_result,
)
from embedsweep.evaluation.similarity import (
    SPEARMAN,
    TRIPLET_ACCURACY,
    similarity_result,
    triplet_result,
)


def relevance_task(relevant, calibration=None):
    return RelevanceTask(
        pairs={f"p{row}": (f"query {row}", f"document {row}") for row in range(len(relevant))},
        relevant={f"p{row}": bool(truth) for row, truth in enumerate(relevant)},
        calibration=calibration,
    )


def test_relevance_by_hand():
    task = relevance_task([1, 0, 1, 0])
    result = relevance_result(task, lambda of: np.array([0.9, 0.8, 0.7, 0.1]))
    assert result.means[AVERAGE_PRECISION] == pytest.approx((1 / 1 + 2 / 3) / 2)
    # The three above 0.4: two found of two, one of three wrong.
    assert result.means[F1] == pytest.approx(2 * 2 / (3 + 2))
    # Above 0.85 and above 0.4 are both right three times; the higher threshold is taken.
    assert result.scores[ACCURACY] == {"p0": 1.0, "p1": 1.0, "p2": 0.0, "p3": 1.0}


def test_the_threshold_comes_from_the_calibration_pairs():
    calibration = relevance_task([1, 1, 0, 0])
    task = relevance_task([1, 0, 1, 0], calibration)
    similarities = {4: np.array([0.9, 0.6, 0.5, 0.1])}

    def similarities_of(of):
        return np.array([0.9, 0.8, 0.3, 0.2]) if of is calibration else similarities[4]

    result = relevance_result(task, similarities_of)
    # Calibration cuts midway between 0.8 and 0.3: the task's third pair is not accepted.
    assert result.scores[ACCURACY] == {"p0": 1.0, "p1": 0.0, "p2": 0.0, "p3": 1.0}
    assert result.means[F1] == pytest.approx(2 * 1 / (2 + 2))
    own = relevance_result(replace(task, calibration=None), similarities_of)
    assert own.means[F1] == pytest.approx(2 * 2 / (3 + 2))


pairs = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30)


@settings(deadline=None)
@given(pairs=pairs)
def test_no_threshold_does_better_than_the_chosen_one(pairs):
    similarities = np.array([similarity / 7 for similarity, _ in pairs])
    relevant = np.array([truth for _, truth in pairs])
    every = [-1.0, *np.unique(similarities), 2.0]

    def f1(threshold):
        return f1_score(relevant, similarities >= threshold, zero_division=0)

    def accuracy(threshold):
        return accuracy_score(relevant, similarities >= threshold)

    best_f1 = f1(f1_threshold(similarities, relevant))
    best_accuracy = accuracy(accuracy_threshold(similarities, relevant))
    assert best_f1 == pytest.approx(max(map(f1, every)))
    assert best_accuracy == pytest.approx(max(map(accuracy, every)))


def test_a_threshold_between_neighbouring_floats_still_parts_them():
    lower = 0.5
    upper = np.nextafter(lower, 1)
    relevant = np.array([True, False])
    threshold = f1_threshold(np.array([upper, lower]), relevant)
    assert lower < threshold <= upper


def test_relevance_needs_pairs_of_both_kinds():
    assert can_tell_relevance(relevance_task([1, 0]))
    assert not can_tell_relevance(relevance_task([1, 1]))
    assert not can_tell_relevance(relevance_task([]))


def similarity_task(scores):
    return SimilarityTask(
        pairs={f"p{row}": (f"first {row}", f"second {row}") for row in range(len(scores))},
        scores={f"p{row}": score for row, score in enumerate(scores)},
    )


def spearman_scores(truth, similarities):
    result = similarity_result(similarity_task(truth), np.array(similarities, dtype=float))
    return list(result.scores[SPEARMAN].values())


def test_spearman_by_hand():
    # Ranks 1 2 3 against 1 3 2: rho = 1 - 6 * (0 + 1 + 1) / (3 * 8).
    assert fmean(spearman_scores([1, 2, 3], [0.1, 0.5, 0.4])) == pytest.approx(0.5)


@settings(deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 5), st.floats(-1, 1)), min_size=2, max_size=40).filter(
        lambda rows: all(len({row[side] for row in rows}) > 1 for side in (0, 1))
    )
)
def test_the_mean_of_the_products_is_scipys_rho(rows):
    truth, similarities = zip(*rows, strict=True)
    expected = spearmanr(truth, similarities).statistic
    assert fmean(spearman_scores(truth, similarities)) == pytest.approx(expected, abs=1e-9)


def test_a_side_without_spread_has_no_correlation():
    assert spearman_scores([1, 2, 3], [0.5, 0.5, 0.5]) == [0.0, 0.0, 0.0]
    assert spearman_scores([2, 2, 2], [0.1, 0.5, 0.4]) == [0.0, 0.0, 0.0]


def test_perfect_and_reversed_order():
    assert fmean(spearman_scores([1, 2, 5, 9], [0.1, 0.2, 0.3, 0.9])) == pytest.approx(1.0)
    assert fmean(spearman_scores([1, 2, 5, 9], [0.9, 0.3, 0.2, 0.1])) == pytest.approx(-1.0)


def test_a_tied_triplet_is_wrong():
    task = TripletTask({f"t{row}": ("anchor", "positive", "negative") for row in range(4)})
    to_positive = np.array([0.9, 0.5, 0.5 + 1e-8, 0.2])
    to_negative = np.array([0.1, 0.5, 0.5, 0.3])
    result = triplet_result(task, to_positive, to_negative)
    assert result.scores[TRIPLET_ACCURACY] == {"t0": 1.0, "t1": 0.0, "t2": 0.0, "t3": 0.0}
