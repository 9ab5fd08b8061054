"""The optimism of a winner: what the simulation of equal models shows, and no more."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import selection_optimism

NDCG = Measure("ndcg", 10)
DEVIATION = 0.2 / 2**0.5
"""Of one model's score of one query: the paired difference of two models then has 0.2."""

TABLE = {
    (10, 200): 0.015,
    (10, 500): 0.010,
    (30, 200): 0.021,
    (30, 500): 0.013,
    (100, 200): 0.025,
    (100, 500): 0.016,
}
"""Mean excess of the best of so many equal models over its true value, on so many queries."""


def worlds(models, queries, seed):
    """Scores of equal models, one a row: a query's difficulty is the same for all of them."""
    generator = np.random.default_rng(seed)
    while True:
        difficulty = generator.uniform(0.1, 0.9, queries)
        yield difficulty + generator.normal(0, DEVIATION, (models, queries)), difficulty.mean()


def reports(scores, groups=None):
    ids = [f"q{row}" for row in range(scores.shape[1])]
    return [
        Report("b", "valid", {}, {NDCG: dict(zip(ids, row, strict=True))}, groups or {})
        for row in scores.tolist()
    ]


@pytest.mark.parametrize(("models", "queries"), TABLE)
def test_it_is_the_excess_of_the_best_of_equal_models(models, queries):
    seed = models + queries
    drawn = worlds(models, queries, seed)
    excess = [
        scores.mean(axis=1).max() - truth for scores, truth in (next(drawn) for _ in range(150))
    ]
    told = [selection_optimism(reports(next(drawn)[0]), NDCG) for _ in range(5)]
    assert np.mean(excess) == pytest.approx(TABLE[models, queries], abs=0.0015), f"seed {seed}"
    assert told == pytest.approx([TABLE[models, queries]] * 5, abs=0.0015), f"seed {seed}"


def test_how_hard_the_queries_are_does_not_count():
    scores, _ = next(worlds(30, 200, seed=1))
    harder = scores + np.linspace(-5, 5, 200)
    assert selection_optimism(reports(harder), NDCG) == pytest.approx(
        selection_optimism(reports(scores), NDCG)
    )


def test_control_the_spread_of_the_scores_themselves_says_far_too_much():
    """Models agree on what is hard, so that the spread over queries is not luck."""
    scores, _ = next(worlds(30, 200, seed=2))
    error = scores.std(axis=1, ddof=1).mean() / np.sqrt(200)
    assert 2.04 * error > 1.5 * selection_optimism(reports(scores), NDCG)


def test_how_good_the_models_are_does_not_count():
    scores, _ = next(worlds(30, 200, seed=3))
    unequal = scores + np.linspace(0, 2, 30)[:, np.newaxis]
    assert selection_optimism(reports(unequal), NDCG) == pytest.approx(
        selection_optimism(reports(scores), NDCG)
    )


def test_two_models_by_hand():
    scores = np.array([[0.1, 0.5, 0.6], [0.3, 0.5, 0.2]])
    # Halves of the differences -0.2, 0, 0.4 to either side; their error, doubled for two models.
    error = np.std([-0.1, 0.0, 0.2], ddof=1) / np.sqrt(3)
    expected = 0.5895 * error * np.sqrt(2)
    assert selection_optimism(reports(scores), NDCG) == pytest.approx(expected, rel=1e-3)


def test_groups_are_what_is_independent():
    """The same luck for all queries of a document: five times fewer looks at it."""
    generator = np.random.default_rng(4)
    luck = np.repeat(generator.normal(0, DEVIATION, (30, 40)), 5, axis=1)
    groups = {f"q{row}": f"document {row // 5}" for row in range(200)}
    alone, grouped = (selection_optimism(reports(luck, each), NDCG) for each in ({}, groups))
    assert grouped == pytest.approx(alone * np.sqrt(5), rel=0.05)
    assert grouped == pytest.approx(2.04 * DEVIATION / np.sqrt(40), rel=0.05)


def test_equal_scores_hold_no_luck():
    assert selection_optimism(reports(np.full((5, 20), 0.4)), NDCG) == 0.0


def test_ids_are_paired_whatever_their_order():
    scores, _ = next(worlds(4, 50, seed=5))
    first, *others = reports(scores)
    turned = replace(first, scores={NDCG: dict(reversed(first.scores[NDCG].items()))})
    assert selection_optimism([turned, *others], NDCG) == selection_optimism([first, *others], NDCG)


@pytest.mark.parametrize(("models", "queries"), [*product((0, 1, 2), (1, 2))])
def test_nothing_is_said_of_what_shows_no_spread(models, queries):
    found = selection_optimism(reports(np.random.default_rng(6).random((models, queries))), NDCG)
    assert (found is None) == (models < 2 or queries < 2)


def test_a_single_group_shows_no_spread():
    scores = np.random.default_rng(6).random((3, 4))
    assert selection_optimism(reports(scores, {f"q{row}": "g" for row in range(4)}), NDCG) is None
