"""Levels that no order of the corpus decides, in blocks of bounded size."""

from __future__ import annotations

import numpy as np
import pytest

from embedsweep.core.dataset import RetrievalTask
from embedsweep.core.report import Measure
from embedsweep.evaluation.ranking import rank, rank_row
from embedsweep.evaluation.retrieval import cosine_rows, retrieval_measures, retrieval_result

NDCG = Measure("ndcg", 10)
MRR = Measure("mrr", 10)


def unit_rows(count, dimension, seed=0):
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def one_query(documents, relevant):
    return RetrievalTask(
        queries={"q": "a query"},
        documents={f"d{number}": f"document {number}" for number in range(documents)},
        judgements={"q": {f"d{number}": grade for number, grade in relevant.items()}},
    )


def naive_reciprocal_rank(scores, relevant):
    order = np.argsort(-scores, kind="stable")
    return 1.0 / (1 + int(np.flatnonzero(order == relevant)[0]))


def levels(ranked):
    """Documents before, and in, each level."""
    return list(zip(ranked.above.tolist(), ranked.size.tolist(), strict=True))


def ranks(ranked):
    """The ranks of relevant documents that nothing is tied with."""
    assert set(ranked.size.tolist()) <= {1}
    return (ranked.above + 1).tolist()


def test_ranks_by_hand():
    row = np.array([0.1, 0.9, 0.5, 0.7], np.float32)
    ranked = rank_row(row, {0: 2, 3: 1})
    assert ranks(ranked) == [2, 4]
    assert ranked.gains.tolist() == [1.0, 2.0]
    assert not ranked.tied


def test_tied_documents_form_a_level_whether_relevant_or_not():
    row = np.array([0.5, 0.5, 0.5, 0.2], np.float32)
    assert levels(rank_row(row, {0: 1})) == [(0, 3)]
    ranked = rank_row(np.array([0.5, 0.5, 0.5, 0.9], np.float32), {0: 3, 1: 1})
    assert levels(ranked) == [(1, 3)]
    assert (ranked.relevant.tolist(), ranked.gains.tolist()) == ([2], [4.0])


@pytest.mark.parametrize("position", [0, 7, 250, 499])
@pytest.mark.parametrize("dimension", [64, 384, 1024])
def test_constant_vectors_score_the_same_wherever_the_relevant_document_stands(position, dimension):
    documents = np.repeat(unit_rows(1, dimension), 500, axis=0)
    task = one_query(500, {position: 1})
    result = retrieval_result(task, cosine_rows(documents[:1], documents), None)
    assert result.scores[MRR]["q"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 500)
    assert result.scores[NDCG]["q"] == pytest.approx(sum(1 / np.log2(np.arange(2, 12))) / 500)
    assert result.facts["tie_rate"] == 1.0


def test_control_an_order_kept_by_argsort_calls_constant_vectors_perfect():
    scores = np.full(500, 0.5, np.float32)
    assert naive_reciprocal_rank(scores, relevant=0) == 1.0
    assert naive_reciprocal_rank(scores, relevant=499) < 0.01


def test_control_equal_vectors_get_unequal_scores_from_a_matrix_product():
    """Why equality allows for rounding: exact equality would let the position decide."""
    spread = []
    for seed in range(20):
        documents = np.repeat(unit_rows(1, 1024, seed), 500, axis=0)
        row = (unit_rows(3, 1024, seed + 100) @ documents.T)[0]
        spread.append(float(row.max() - row.min()))
        # The exact comparison would rank the highest of these equals first of 500.
        assert levels(rank_row(row.copy(), {int(row.argmax()): 1})) == [(0, 500)]
    assert max(spread) < 4e-7


def test_a_chain_of_near_ties_is_one_level():
    row = np.array([0.5, 0.5 + 3e-7, 0.5 + 6e-7, 0.5 + 6e-7, 0.1], np.float32)
    assert levels(rank_row(row, {0: 1, 1: 1, 2: 1})) == [(0, 4)]


def test_others_that_are_near_to_each_other_do_not_stretch_a_level():
    """In a dense ranking every score is near to the next; the level stays as wide as rounding."""
    row = (0.5 + np.arange(100) * 2e-7).astype(np.float32)
    [(_, size)] = levels(rank_row(row, {50: 1}))
    assert 3 <= size <= 9


def test_scores_of_a_larger_scale_tie_by_their_own_rounding():
    row = np.array([30.0, 30.000002, 29.0], np.float32)
    assert levels(rank_row(row, {1: 1})) == [(0, 2)]


def test_a_tie_counts_only_where_it_touches_the_top():
    falling = np.linspace(1, 0, 30, dtype=np.float32)
    low_tie, edge_tie = falling.copy(), falling.copy()
    low_tie[20] = low_tie[21]
    edge_tie[9] = edge_tie[10]
    assert not rank_row(low_tie, {0: 1}).tied
    assert rank_row(edge_tie, {0: 1}).tied


def many_queries(leave_one_out=False):
    ids = [f"t{number}" for number in range(40)]
    texts = {each: f"text {each}" for each in ids}
    judgements = {
        each: {other: 1 for place, other in enumerate(ids) if place % 4 == number % 4}
        for number, each in enumerate(ids)
    }
    return RetrievalTask(texts, texts, judgements, leave_one_out)


@pytest.mark.parametrize("block_bytes", [1, 40 * 4, 3 * 40 * 4 + 5, 2**20])
def test_blocks_stay_within_their_bytes_and_change_nothing(block_bytes):
    vectors = unit_rows(40, 16)
    task, rows = many_queries(), cosine_rows(vectors, vectors)
    whole = {query: levels(found) for query, found in rank(task, rows)}
    seen = []

    def watched(start, stop):
        block = rows(start, stop)
        seen.append(block.nbytes)
        return block

    ranked = rank(task, watched, block_bytes)
    assert {query: levels(found) for query, found in ranked} == whole
    assert max(seen) <= max(block_bytes, 40 * 4)
    assert sum(seen) == 40 * 40 * 4


def test_a_query_never_finds_its_own_document_when_it_is_left_out():
    vectors = unit_rows(40, 16)
    rows = cosine_rows(vectors, vectors)
    left_out = dict(rank(many_queries(leave_one_out=True), rows))
    kept = dict(rank(many_queries(leave_one_out=False), rows))
    for query, found in left_out.items():
        # Its own document would be first; without it all others move up by one.
        assert ranks(kept[query])[0] == 1
        assert [each - 1 for each in ranks(kept[query])[1:]] == ranks(found)
        assert (kept[query].documents, found.documents) == (40, 39)


def test_grade_zero_and_unlisted_are_not_relevant():
    task = one_query(3, {0: 0, 1: 2})
    ranked = dict(rank(task, lambda start, stop: np.array([[0.9, 0.5, 0.7]], np.float32)))
    assert ranks(ranked["q"]) == [3]
    assert ranked["q"].grades.tolist() == [2.0]


def test_the_objective_is_measured_at_its_own_cut_off():
    assert Measure("ndcg", 7) in retrieval_measures(Measure("ndcg", 7))
    assert retrieval_measures(Measure("ndcg", 10)) == retrieval_measures(None)
    assert retrieval_measures(Measure("accuracy")) == retrieval_measures(None)
