"""What a person reads of an example, for every measure that has a score per example."""

from __future__ import annotations

import pytest

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    RelevanceTask,
    RetrievalTask,
    SimilarityTask,
    Split,
    TripletTask,
)
from embedsweep.core.report import PLAIN, RANKED, Measure
from embedsweep.evaluation import example

DOCUMENTS = {f"d{number}": f"document {number}" for number in range(6)}
BENCHMARK = Benchmark(
    name="all",
    split=Split.VALID,
    retrieval=RetrievalTask(
        {"x": "which one?"}, DOCUMENTS, {"x": {"d0": 0, "d1": 1, "d2": 2, "d3": 1, "d4": 1}}
    ),
    classification=ClassificationTask(("a",), ("A",), {"x": "a text"}, {"x": "A"}),
    relevance=RelevanceTask(
        {"x": ("which?", "this"), "y": ("which?", "that")}, {"x": True, "y": False}
    ),
    triplets=TripletTask({"x": ("anchor text", "near text", "far text")}),
    similarity=SimilarityTask({"x": ("one", "other")}, {"x": 3.5}),
)
BY_LABEL = Benchmark(
    name="labels",
    split=Split.VALID,
    retrieval=RetrievalTask(
        {"x": "a text"}, {"x": "a text", "z": "another"}, {"x": {"z": 1}}, leave_one_out=True
    ),
    classification=BENCHMARK.classification,
)


def parts(benchmark: Benchmark, measure: str, id_: str = "x") -> list[tuple[str, str]]:
    found = example(benchmark, Measure.parse(measure), id_)
    assert found is not None
    assert found.id == id_
    return [(part.name, part.text) for part in found.parts]


@pytest.mark.parametrize("measure", ["ndcg@10", "mrr@3", "recall@100", "precision@1", "map"])
def test_a_query_comes_with_its_relevant_documents_the_best_grade_first(measure: str) -> None:
    assert parts(BENCHMARK, measure) == [
        ("query", "which one?"),
        ("relevant", "document 2"),
        ("relevant", "document 1"),
        ("relevant", "document 3"),
    ]
    found = example(BENCHMARK, Measure.parse(measure), "x")
    assert found is not None
    assert found.more == 1


@pytest.mark.parametrize("measure", ["accuracy", "knn_accuracy"])
def test_a_labelled_text_comes_with_its_label(measure: str) -> None:
    assert parts(BENCHMARK, measure) == [("text", "a text"), ("label", "A")]


def test_where_texts_of_a_label_find_each_other_the_label_says_it() -> None:
    assert parts(BY_LABEL, "ndcg@10") == [("text", "a text"), ("label", "A")]


def test_pairs_triplets_and_scored_pairs() -> None:
    pair = [("query", "which?"), ("document", "that"), ("truth", "not relevant")]
    assert parts(BENCHMARK, "relevance_accuracy", "y") == pair
    triplet = [("anchor", "anchor text"), ("positive", "near text"), ("negative", "far text")]
    assert parts(BENCHMARK, "triplet_accuracy") == triplet
    scored = [("first", "one"), ("second", "other"), ("score", "3.5")]
    assert parts(BENCHMARK, "spearman") == scored


def test_every_measure_with_scores_has_examples_and_an_unknown_id_has_none() -> None:
    measures = [Measure(name, 10) for name in RANKED] + [Measure(name) for name in PLAIN]
    scored = [measure for measure in measures if measure.has_scores]
    assert len(scored) == 10
    empty = Benchmark("none", Split.VALID)
    for measure in scored:
        assert example(BENCHMARK, measure, "x") is not None
        assert example(BENCHMARK, measure, "nope") is None
        assert example(empty, measure, "x") is None
