"""One report from all the tasks of a benchmark, each text embedded once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from statistics import fmean

import numpy as np
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
from embedsweep.core.report import PLAIN, Measure, Report
from embedsweep.core.roles import TextRole
from embedsweep.evaluation import evaluate, measures_of

TOPICS = {
    "billing": "invoice refund fee charge receipt",
    "cards": "card pin chip wallet expiry",
    "travel": "abroad currency exchange airport hotel",
}
LABELLED = {
    f"{topic}-{number}": f"{word} {words.split()[number - 1]} about {topic} number{number}"
    for topic, words in TOPICS.items()
    for number, word in enumerate(words.split())
}
LABELS = {each: each.split("-")[0] for each in LABELLED}


class WordVectors:
    """The sum of a fixed random direction per word; remembers what it was asked."""

    dimension = 48

    def __init__(self):
        self.asked: Counter[tuple[TextRole, str]] = Counter()

    def effective_role(self, role):
        return role

    def embed(self, texts, role=TextRole.PLAIN):
        self.asked.update((role, text) for text in texts)
        rows = [sum(map(self.direction, text.lower().split())) for text in texts]
        vectors = np.array(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def direction(self, word):
        return np.random.default_rng(list(word.encode())).standard_normal(self.dimension)


def search():
    documents = dict(LABELLED)
    queries = {f"q-{each}": f"where is {text}" for each, text in LABELLED.items()}
    return RetrievalTask(queries, documents, {f"q-{each}": {each: 1} for each in LABELLED})


def same_label():
    judgements = {
        each: {other: 1 for other in LABELLED if LABELS[other] == LABELS[each] and other != each}
        for each in LABELLED
    }
    return RetrievalTask(LABELLED, LABELLED, judgements, leave_one_out=True)


def classification():
    fit = {f"more {text}": LABELS[each] for each, text in LABELLED.items()}
    return ClassificationTask(tuple(fit), tuple(fit.values()), LABELLED, LABELS)


def relevance(calibration=None):
    texts = list(LABELLED.values())
    pairs = {
        f"p{row}": (f"where is {text}", texts[row - row % 2]) for row, text in enumerate(texts)
    }
    return RelevanceTask(pairs, {each: int(each[1:]) % 2 == 0 for each in pairs}, calibration)


def triplets():
    texts = list(LABELLED.values())
    return TripletTask({f"t{row}": (texts[row], texts[row + 1], texts[-1]) for row in range(4)})


def similarity():
    texts = list(LABELLED.values())
    pairs = {f"s{row}": (texts[0], texts[row]) for row in range(1, 9)}
    return SimilarityTask(pairs, {each: 10.0 - int(each[1:]) for each in pairs})


def everything():
    return Benchmark(
        "topics",
        Split.VALID,
        retrieval=search(),
        classification=classification(),
        relevance=relevance(calibration=relevance()),
        triplets=triplets(),
        similarity=similarity(),
        groups={each: label for each, label in LABELS.items()},
    )


def test_every_measure_the_tasks_give_is_in_the_report():
    objective = Measure("ndcg", 3)
    report = evaluate(WordVectors(), everything(), objective)
    assert set(report.means) == set(measures_of(everything(), objective))
    assert {measure.name for measure in report.means} >= set(PLAIN)
    assert objective in report.means
    assert all(-1 <= value <= 1 for value in report.means.values())


def test_every_measure_with_scores_is_the_mean_of_them():
    report = evaluate(WordVectors(), everything())
    assert set(report.scores) == {measure for measure in report.means if measure.has_scores}
    for measure, scores in report.scores.items():
        assert report.means[measure] == pytest.approx(fmean(scores.values()), abs=1e-15)


def test_the_report_says_what_it_is_of():
    benchmark = everything()
    embedder = WordVectors()
    report = evaluate(embedder, benchmark)
    assert report.benchmark == benchmark.fingerprint
    assert report.split == "valid"
    assert report.groups == benchmark.groups
    assert set(report.per_class) == set(TOPICS)
    assert report.facts["dimension"] == 48
    assert report.facts["texts"] == len(embedder.asked)
    assert report.facts["embed_seconds"] > 0
    assert report.facts["tie_rate"] == 0
    assert report.facts["probe_converged"] == 1
    assert Report.from_dict(json.loads(json.dumps(report.as_dict()))) == report


def test_each_text_is_embedded_once_in_every_role_it_has():
    embedder = WordVectors()
    evaluate(embedder, everything())
    assert set(embedder.asked.values()) == {1}
    roles = {role for role, _ in embedder.asked}
    assert roles == set(TextRole)
    assert (TextRole.DOCUMENT, LABELLED["cards-0"]) in embedder.asked
    assert (TextRole.PLAIN, LABELLED["cards-0"]) in embedder.asked


def test_same_label_retrieval_shares_its_vectors_with_classification():
    embedder = WordVectors()
    task = classification()
    report = evaluate(embedder, Benchmark("topics", Split.VALID, same_label(), classification=task))
    assert {role for role, _ in embedder.asked} == {TextRole.PLAIN}
    assert report.facts["texts"] == len(LABELLED) + len(task.fit_texts)
    assert report.means[Measure("mrr", 10)] > 0.5


def test_a_task_without_anything_to_measure_is_left_out_and_not_embedded():
    one_class = replace(classification(), fit_labels=("billing",) * len(LABELLED))
    all_relevant = replace(relevance(), relevant=dict.fromkeys(relevance().pairs, True))
    benchmark = Benchmark(
        "topics",
        Split.TEST,
        retrieval=search(),
        classification=one_class,
        relevance=all_relevant,
        triplets=TripletTask({}),
        similarity=SimilarityTask({}, {}),
    )
    embedder = WordVectors()
    report = evaluate(embedder, benchmark)
    assert report.benchmark == benchmark.fingerprint
    assert set(report.means) == set(measures_of(benchmark))
    assert {measure.name for measure in report.means} == {
        "ndcg", "mrr", "map", "recall", "precision"
    }  # fmt: skip
    assert not any(text.startswith("more") for _, text in embedder.asked)


def test_the_same_model_and_benchmark_give_the_same_report():
    first, second = (evaluate(WordVectors(), everything()) for _ in range(2))
    assert replace(first, facts={}) == replace(second, facts={})
