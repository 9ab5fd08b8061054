"""Classifiers on frozen vectors: equal to scikit-learn, honest about what cannot be measured."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from embedsweep.core.dataset import ClassificationTask
from embedsweep.evaluation.classification import (
    ACCURACY,
    KNN_ACCURACY,
    KNN_MACRO_F1,
    MACRO_F1,
    can_classify,
    class_report,
    classification_result,
    fit_probe,
    macro_f1,
)

CLASSES = ("billing", "cards", "travel")


def clusters(count, spread, seed):
    """Unit vectors around one direction per class, with their labels."""
    generator = np.random.default_rng(seed)
    rows = np.arange(count) % len(CLASSES)
    vectors = np.eye(8)[rows] + spread * generator.standard_normal((count, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [CLASSES[row] for row in rows]


def a_task(fit_labels, labels):
    return ClassificationTask(
        fit_texts=tuple(f"fit {row}" for row in range(len(fit_labels))),
        fit_labels=tuple(fit_labels),
        texts={f"e{row}": f"text {row}" for row in range(len(labels))},
        labels={f"e{row}": label for row, label in enumerate(labels)},
    )


def measured(spread=0.6, fit=60, count=45):
    fit_vectors, fit_labels = clusters(fit, spread, seed=1)
    vectors, labels = clusters(count, spread, seed=2)
    task = a_task(fit_labels, labels)
    return task, classification_result(task, fit_vectors, vectors), fit_vectors, vectors


def test_class_report_by_hand():
    report = class_report(["a", "a", "b", "b"], ["a", "b", "b", "c"])
    assert report["a"] == {
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3),
        "support": 2,
    }
    assert report["b"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert report["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert macro_f1(report) == pytest.approx((2 / 3 + 0.5 + 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_scikit_learns(seed):
    generator = np.random.default_rng(seed)
    truth = list(generator.choice(list("abcd"), 50))
    # One class is never predicted, and one that never occurs is.
    predicted = list(generator.choice(list("abce"), 50))
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(class_report(truth, predicted)) == pytest.approx(expected, abs=1e-12)


def test_scores_are_hits_and_misses_of_each_example():
    task, result, fit_vectors, vectors = measured()
    probe = LogisticRegression(C=1.0, max_iter=1000).fit(fit_vectors, task.fit_labels)
    hits = probe.predict(vectors) == np.array(list(task.labels.values()))
    assert result.scores[ACCURACY] == dict(zip(task.texts, hits.astype(float), strict=True))
    assert 0.5 < hits.mean() < 1.0
    assert set(result.scores) == {ACCURACY, KNN_ACCURACY}
    assert set(result.means) == {MACRO_F1, KNN_MACRO_F1}
    assert result.facts == {"probe_converged": 1.0}
    assert sum(row["support"] for row in result.per_class.values()) == len(task.texts)


def test_neighbours_are_the_five_nearest_by_cosine():
    task, result, fit_vectors, vectors = measured(spread=1.0)
    nearest = np.argsort(-(vectors @ fit_vectors.T), axis=1)[:, :5]
    votes = [Counter(task.fit_labels[row] for row in rows) for rows in nearest]
    # Of classes with equally many votes the first by name is taken.
    guesses = [min(vote, key=lambda label: (-vote[label], label)) for vote in votes]
    hits = [
        float(guess == task.labels[each]) for each, guess in zip(task.texts, guesses, strict=True)
    ]
    assert list(result.scores[KNN_ACCURACY].values()) == hits


def test_separate_classes_score_one():
    _, result, _, _ = measured(spread=0.01)
    assert set(result.scores[ACCURACY].values()) == {1.0}
    assert set(result.scores[KNN_ACCURACY].values()) == {1.0}
    assert result.means == {MACRO_F1: 1.0, KNN_MACRO_F1: 1.0}


def test_fewer_texts_than_neighbours_are_all_asked():
    fit_vectors, fit_labels = clusters(3, 0.01, seed=1)
    vectors, labels = clusters(6, 0.01, seed=2)
    result = classification_result(a_task(fit_labels, labels), fit_vectors, vectors)
    assert set(result.scores[ACCURACY].values()) == {1.0}
    assert len(result.scores[KNN_ACCURACY]) == 6


def test_a_probe_that_does_not_converge_is_told_and_not_warned_of():
    vectors, labels = clusters(60, 0.6, seed=1)
    assert fit_probe(vectors, labels)[1]
    assert not fit_probe(vectors.astype(np.float64) * 1e100, labels)[1]


def test_control_scikit_learn_warns_of_it():
    vectors, labels = clusters(60, 0.6, seed=1)
    with pytest.warns(ConvergenceWarning):
        LogisticRegression().fit(vectors.astype(np.float64) * 1e100, labels)


def test_other_warnings_of_the_fit_are_passed_on():
    vectors, labels = clusters(60, 0.6, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(RuntimeWarning, match="encountered in reduce"):
            fit_probe(vectors * np.float32(3e38), labels)


def test_a_single_example_of_each_of_many_classes_is_measured_without_a_warning():
    vectors = np.eye(30, dtype=np.float32)
    labels = [f"class {row}" for row in range(30)]
    result = classification_result(a_task(labels, labels), vectors, vectors)
    assert set(result.scores[ACCURACY].values()) == {1.0}


def test_control_scikit_learn_takes_such_labels_for_numbers():
    with pytest.warns(UserWarning, match="regression problem"):
        LogisticRegression().fit(np.eye(30), [f"class {row}" for row in range(30)])


def test_one_class_or_nothing_to_classify_is_no_task():
    assert can_classify(a_task(["a", "b"], ["a"]))
    assert not can_classify(a_task(["a", "a"], ["a"]))
    assert not can_classify(a_task(["a", "b"], []))
