"""Ties at their expected value: equal to brute force over all orders, and to drawn ones."""

from __future__ import annotations

from itertools import chain, pairwise, permutations
from math import log2
from statistics import fmean

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedsweep.core.report import Measure
from embedsweep.evaluation.measures import RANKED_MEASURES, Levels, scores
from embedsweep.evaluation.ranking import rank_row

CUTS = (1, 2, 3, 10)
MEASURES = tuple(
    Measure(name, k) for name in RANKED_MEASURES for k in (*CUTS, *((None,) * (name == "map")))
)


def score(measure, query):
    [value] = scores(measure, Levels.of([query]))
    return value


def value_of(measure, graded):
    """The measure of grades in rank order, from its definition."""
    k = len(graded) if measure.k is None else measure.k
    top, relevant = graded[:k], [grade for grade in graded if grade > 0]
    hits = [rank for rank, grade in enumerate(top, start=1) if grade > 0]
    if measure.name == "ndcg":
        return dcg(top) / dcg(sorted(relevant, reverse=True)[:k])
    if measure.name == "mrr":
        return 1 / hits[0] if hits else 0.0
    if measure.name == "map":
        return sum(place / rank for place, rank in enumerate(hits, start=1)) / len(relevant)
    return len(hits) / (len(relevant) if measure.name == "recall" else k)


def dcg(grades):
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def relevant_in(grades):
    return {column: grade for column, grade in enumerate(grades) if grade > 0}


def of_every_order(scores, grades, measures):
    """The mean of each measure over all orders in which no score rises."""
    orders = [
        [grades[column] for column in order]
        for order in permutations(range(len(scores)))
        if all(scores[left] >= scores[right] for left, right in pairwise(order))
    ]
    return [fmean(value_of(measure, graded) for graded in orders) for measure in measures]


documents = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(drawn=documents.filter(lambda rows: any(grade for _, grade in rows)))
@example(drawn=[(1, 3), (1, 1), (1, 0), (1, 2), (1, 0), (1, 0)])
@example(drawn=[(2, 1), (1, 0), (1, 2), (1, 1), (0, 0), (0, 3)])
def test_every_measure_is_its_mean_over_all_orders_of_the_tied(drawn):
    scores, grades = zip(*drawn, strict=True)
    ranked = rank_row(np.array(scores, np.float32), relevant_in(grades))
    found = [score(measure, ranked) for measure in MEASURES]
    assert found == pytest.approx(of_every_order(scores, grades, MEASURES), abs=1e-12)


def test_control_one_order_of_the_tied_says_something_else():
    """The orders that a sort may leave: of the corpus, and of the corpus backwards."""
    grades = [2, 0, 0, 0]
    expected = of_every_order([1] * 4, grades, MEASURES)
    for graded in (grades, grades[::-1]):
        stored = [value_of(measure, graded) for measure in MEASURES]
        assert max(abs(a - b) for a, b in zip(stored, expected, strict=True)) > 0.4


@settings(deadline=None, max_examples=50)
@given(grades=st.lists(st.integers(0, 3), min_size=1, max_size=20).filter(any))
def test_without_ties_every_measure_is_that_of_the_one_order(grades):
    falling = np.linspace(1, 0, len(grades), dtype=np.float32)
    ranked = rank_row(falling, relevant_in(grades))
    for measure in MEASURES:
        assert score(measure, ranked) == pytest.approx(value_of(measure, grades), abs=1e-12)


def test_a_tie_of_two_thousand_agrees_with_drawn_orders():
    generator = np.random.default_rng(8)
    grades = np.zeros(2_000, np.int64)
    grades[:60] = generator.integers(1, 4, 60)
    ranked = rank_row(np.full(2_000, 0.3, np.float32), relevant_in(grades.tolist()))
    wanted = [
        Measure.parse(name)
        for name in (
            "ndcg@10",
            "ndcg@500",
            "mrr@10",
            "mrr@500",
            "map",
            "recall@100",
            "precision@10",
        )
    ]
    drawn = np.array(
        [
            [value_of(measure, graded) for measure in wanted]
            for graded in (generator.permutation(grades).tolist() for _ in range(1_000))
        ]
    )
    found = np.array([score(measure, ranked) for measure in wanted])
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    off = np.abs(found - drawn.mean(axis=0)) / np.maximum(error, 1e-12)
    assert off.max() < 4.5, dict(zip(map(str, wanted), off.round(1), strict=True))


def test_a_level_in_the_middle_of_many_untied_documents():
    """Far down the ranking, where sums of many reciprocals are subtracted from each other."""
    scores = np.linspace(1, 0, 200_000).astype(np.float32)
    scores[150_000:150_004] = scores[150_000]
    ranked = rank_row(scores[::-1].copy(), {199_999 - 150_001: 1, 199_999 - 150_003: 2})
    assert (ranked.above.tolist(), ranked.size.tolist()) == ([150_000], [4])
    orders = [
        sum(place / rank for place, rank in enumerate(sorted(ranks), start=1)) / 2
        for ranks in permutations(range(150_001, 150_005), 2)
    ]
    assert score(Measure("map"), ranked) == pytest.approx(fmean(orders), rel=1e-6)


def test_a_constant_model_scores_what_a_random_one_does_on_average():
    generator = np.random.default_rng(3)
    relevant = {column: 1 for column in range(7)}
    constant = rank_row(np.ones(50, np.float32), relevant)
    random = Levels.of(
        [rank_row(generator.random(50, dtype=np.float32), relevant) for _ in range(1_500)]
    )
    for measure in MEASURES:
        drawn = scores(measure, random)
        noise = np.std(drawn) / np.sqrt(len(drawn))
        assert score(measure, constant) == pytest.approx(drawn.mean(), abs=4.5 * noise), measure


def test_a_row_of_levels_by_hand():
    row = np.array([0.9, 0.5, 0.5, 0.5, 0.2, 0.2, 0.1], np.float32)
    ranked = rank_row(row, {6: 1, 1: 3, 3: 2, 4: 1})
    assert ranked.above.tolist() == [1, 4, 6]
    assert ranked.size.tolist() == [3, 2, 1]
    assert ranked.relevant.tolist() == [2, 1, 1]
    assert ranked.gains.tolist() == [5.0, 1.0, 1.0]
    assert ranked.grades.tolist() == [3.0, 2.0, 1.0, 1.0]
    assert (ranked.documents, ranked.tied) == (7, True)


@settings(deadline=None)
@given(data=st.data())
def test_levels_never_share_a_document(data):
    """Scores a few roundings apart, in which "near to" is not transitive."""
    steps = data.draw(st.lists(st.integers(0, 30), min_size=2, max_size=40))
    marks = data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    row = (0.25 + np.array(steps) * 1e-7).astype(np.float32)
    relevant = {column: 1 for column, marked in enumerate(marks) if marked}
    ranked = rank_row(row, relevant)
    ends = (ranked.above + ranked.size).tolist()
    places = chain.from_iterable(zip(ranked.above.tolist(), ends, strict=True))
    assert all(left <= right for left, right in pairwise([0, *places, len(row)]))
    assert (ranked.relevant <= ranked.size).all()
    assert ranked.relevant.sum() == len(relevant)
