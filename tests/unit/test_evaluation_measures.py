"""Measures of one ranking: worked by hand, and their bounds."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsweep.core.report import RANKED as WITH_CUT_OFF
from embedsweep.core.report import Measure
from embedsweep.evaluation.measures import (
    RANKED_MEASURES,
    Levels,
    average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
    scores,
)
from embedsweep.evaluation.ranking import rank_row


def at_ranks(grade_at, documents=20):
    """A query whose relevant documents stand at these ranks, nothing tied."""
    falling = np.arange(documents, 0, -1).astype(np.float32)
    return rank_row(falling, {rank - 1: grade for rank, grade in grade_at.items()})


LEVELS = Levels.of([at_ranks({2: 1, 3: 3, 7: 2})])


def score(measure, query):
    [value] = scores(measure, Levels.of([query]))
    return value


def test_ndcg_by_hand():
    best = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg(LEVELS, 10) == pytest.approx((1 / log2(3) + 3 / log2(4) + 2 / log2(8)) / best)
    assert ndcg(LEVELS, 2) == pytest.approx((1 / log2(3)) / (3 / log2(2) + 2 / log2(3)))
    assert ndcg(LEVELS, 1) == 0.0


def test_gain_is_linear_in_the_grade():
    exponential = (2**1 - 1) / log2(3) / (2**3 - 1)
    assert ndcg(LEVELS, 2) != pytest.approx(exponential)
    assert ndcg(Levels.of([at_ranks({1: 1, 2: 2})]), 2) == pytest.approx(
        (1 + 2 / log2(3)) / (2 + 1 / log2(3))
    )


def test_the_other_measures_by_hand():
    assert reciprocal_rank(LEVELS, 10) == 1 / 2
    assert reciprocal_rank(LEVELS, 1) == 0.0
    assert average_precision(LEVELS, 20) == pytest.approx((1 / 2 + 2 / 3 + 3 / 7) / 3)
    assert average_precision(LEVELS, 3) == pytest.approx((1 / 2 + 2 / 3) / 3)
    assert recall(LEVELS, 3) == pytest.approx(2 / 3)
    assert precision(LEVELS, 10) == pytest.approx(3 / 10)


def test_precision_divides_by_k_even_if_fewer_documents_are_relevant():
    assert score(Measure("precision", 10), at_ranks({1: 1})) == pytest.approx(0.1)
    assert score(Measure("precision", 10), at_ranks({1: 1}, documents=5)) == pytest.approx(0.1)


def test_every_ranked_measure_of_the_core_has_its_function():
    assert set(RANKED_MEASURES) == {*WITH_CUT_OFF, "map"}


def test_nothing_relevant_scores_zero():
    nothing = at_ranks({})
    for name in ("ndcg@10", "mrr@10", "map", "recall@10", "precision@1"):
        assert score(Measure.parse(name), nothing) == 0.0


def test_many_queries_are_measured_as_each_alone():
    generator = np.random.default_rng(0)
    queries = [at_ranks({})]
    for relevant in (1, 3, 0, 7):
        rows = generator.integers(0, 6, 30).astype(np.float32)
        columns = generator.choice(30, relevant, replace=False).tolist()
        queries.append(rank_row(rows, {column: 1 + column % 3 for column in columns}))
    queries += [at_ranks({2: 1, 3: 3, 7: 2}), at_ranks({})]
    for name in ("ndcg@1", "ndcg@10", "mrr@10", "map", "recall@10", "recall@100", "precision@1"):
        measure = Measure.parse(name)
        alone = [score(measure, each) for each in queries]
        assert scores(measure, Levels.of(queries)) == pytest.approx(alone)


measures = st.sampled_from(["ndcg@3", "ndcg@10", "mrr@10", "map", "recall@5", "precision@4"])
graded = st.lists(st.integers(0, 4), min_size=1, max_size=25).filter(any)


@settings(deadline=None)
@given(name=measures, grades=graded, seed=st.integers(0, 99))
def test_every_score_lies_between_zero_and_one(name, grades, seed):
    scores = np.random.default_rng(seed).integers(0, 5, len(grades)).astype(np.float32)
    relevant = {column: grade for column, grade in enumerate(grades) if grade}
    assert 0.0 <= score(Measure.parse(name), rank_row(scores, relevant)) <= 1.0


@settings(deadline=None)
@given(grades=graded, k=st.integers(1, 30))
def test_the_best_order_scores_one(grades, k):
    scores = np.array([grade - column / 100 for column, grade in enumerate(grades)], np.float32)
    relevant = {column: grade for column, grade in enumerate(grades) if grade}
    best = rank_row(scores, relevant)
    assert score(Measure("ndcg", k), best) == pytest.approx(1.0)
    assert score(Measure("mrr", k), best) == 1.0
    assert score(Measure("map"), best) == pytest.approx(1.0)
    assert score(Measure("recall", len(grades)), best) == 1.0
    assert score(Measure("precision", len(relevant)), best) == 1.0


@settings(deadline=None)
@given(name=measures, grades=graded, seed=st.integers(0, 99))
def test_the_order_in_which_documents_are_stored_does_not_matter(name, grades, seed):
    generator = np.random.default_rng(seed)
    # Few distinct scores, so that most documents are tied.
    scores = generator.integers(0, 4, len(grades)).astype(np.float32)
    order = generator.permutation(len(grades))
    stored = {column: grade for column, grade in enumerate(grades) if grade}
    shuffled = {place: grades[column] for place, column in enumerate(order) if grades[column]}
    measure = Measure.parse(name)
    assert score(measure, rank_row(scores[order], shuffled)) == pytest.approx(
        score(measure, rank_row(scores.copy(), stored))
    )
