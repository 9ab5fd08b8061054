"""BM25 through the same ranking as the models."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    RelevanceTask,
    RetrievalTask,
    Split,
)
from embedsweep.core.report import Measure
from embedsweep.evaluation import evaluate_lexical
from embedsweep.evaluation.lexical import Bm25Index

ANYWHERE_OF_FOUR = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
"""The reciprocal rank that is expected of one document among four equals."""

DOCUMENTS = {
    "d1": "the card was declined",
    "d2": "the transfer is pending, the transfer is late",
    "d3": "top up by card",
    "d4": "…",
}
QUERIES = {"q1": "Card declined?", "q2": "TRANSFER late", "q3": "nothing in common"}
JUDGEMENTS = {"q1": {"d1": 2, "d3": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}


def benchmark(relevance=None):
    retrieval = RetrievalTask(QUERIES, DOCUMENTS, JUDGEMENTS)
    return Benchmark("bank", Split.VALID, retrieval, relevance=relevance, groups={"q1": "g"})


def lucene_bm25(query, documents, k1=1.5, b=0.75):
    """The formula, word by word."""
    words = [document.replace(",", "").lower().split() for document in documents]
    average = sum(map(len, words)) / len(words)
    scores = []
    for document in words:
        score = 0.0
        for word in query.split():
            holding = sum(word in other for other in words)
            count = document.count(word)
            idf = log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            score += idf * count / (count + k1 * (1 - b + b * len(document) / average))
        scores.append(score)
    return scores


def test_scores_are_lucenes_bm25():
    documents = list(DOCUMENTS.values())
    scores = Bm25Index(documents).scores("the transfer card")
    assert scores == pytest.approx(lucene_bm25("the transfer card", documents), rel=1e-5)


def test_the_report_by_hand():
    report = evaluate_lexical(benchmark(), Measure("ndcg", 1))
    found = report.scores[Measure("mrr", 10)]
    assert found == pytest.approx({"q1": 1.0, "q2": 1.0, "q3": ANYWHERE_OF_FOUR})
    assert report.scores[Measure("ndcg", 1)] == {"q1": 1.0, "q2": 1.0, "q3": 0.25}
    assert report.scores[Measure("precision", 1)] == {"q1": 1.0, "q2": 1.0, "q3": 0.25}
    assert report.means[Measure("recall", 10)] == 1.0
    assert report.facts["texts"] == 4
    assert report.facts["dimension"] == 0
    assert report.facts["tie_rate"] == 1.0
    assert report.benchmark == benchmark().fingerprint
    assert report.groups == {"q1": "g"}


def test_a_document_that_shares_no_word_is_not_found_by_its_place():
    """Zero scores are ties, and a naive sort would put the first document on top."""
    first = evaluate_lexical(benchmark()).scores[Measure("mrr", 10)]["q3"]
    moved = RetrievalTask(QUERIES, dict(reversed(DOCUMENTS.items())), JUDGEMENTS)
    last = evaluate_lexical(Benchmark("bank", Split.VALID, moved)).scores[Measure("mrr", 10)]["q3"]
    assert first == last == pytest.approx(ANYWHERE_OF_FOUR)


def test_relevance_pairs_are_scored_even_if_their_documents_are_not_searched():
    pairs = {"p1": ("card declined", DOCUMENTS["d1"]), "p2": ("card declined", "a late parcel")}
    calibration = RelevanceTask(
        {"c1": ("late parcel", "the parcel is late"), "c2": ("late parcel", "a card")},
        {"c1": True, "c2": False},
    )
    task = RelevanceTask(pairs, {"p1": True, "p2": False}, calibration)
    report = evaluate_lexical(benchmark(task))
    assert report.means[Measure("relevance_average_precision")] == 1.0
    assert report.scores[Measure("relevance_accuracy")] == {"p1": 1.0, "p2": 1.0}


def test_no_retrieval_task_is_refused():
    task = ClassificationTask(("a", "b"), ("x", "y"), {"e": "c"}, {"e": "x"})
    with pytest.raises(ValueError, match="'bank' has no retrieval task"):
        evaluate_lexical(Benchmark("bank", Split.VALID, classification=task))


@pytest.mark.parametrize("documents", [["…", "!"], ["a", "…"], ["word", ""]])
def test_documents_and_queries_without_words_score_zero(documents):
    index = Bm25Index(documents)
    for query in ("", "?", "unknown"):
        assert np.array_equal(index.scores(query), np.zeros(2, np.float32))
