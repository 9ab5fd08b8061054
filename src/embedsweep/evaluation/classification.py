"""Classification from frozen vectors: a logistic-regression probe and nearest neighbours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from embedsweep.core.dataset import ClassificationTask
from embedsweep.core.ports import FloatArray
from embedsweep.core.report import Measure
from embedsweep.evaluation.result import TaskResult

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

ACCURACY = Measure("accuracy")
MACRO_F1 = Measure("macro_f1")
KNN_ACCURACY = Measure("knn_accuracy")
KNN_MACRO_F1 = Measure("knn_macro_f1")
CLASSIFICATION_MEASURES = (ACCURACY, MACRO_F1, KNN_ACCURACY, KNN_MACRO_F1)

MAX_ITERATIONS = 1000
NEIGHBOURS = 5
BLOCK_BYTES = 64 * 2**20
"""Bounds the cosines that are held at a time to find the nearest neighbours."""


def can_classify(task: ClassificationTask) -> bool:
    """Whether there are two classes to tell apart, and anything to classify."""
    return len(set(task.fit_labels)) > 1 and bool(task.texts)


def classification_result(
    task: ClassificationTask,
    fit_vectors: FloatArray,
    vectors: FloatArray,
) -> TaskResult:
    """Fit both classifiers on the training texts and judge them on the task's texts.

    The probe is ``LogisticRegression(C=1.0, max_iter=1000)`` on the unit vectors; the neighbours
    are the five nearest by cosine, or all where there are fewer. Macro F1 is the plain mean over
    every class present in the truth or the prediction; a class never predicted has F1 0.

    Args:
        task: One that `can_classify`.
        fit_vectors: Unit rows of the training texts.
        vectors: Unit rows of the texts to classify, in their order.
    """
    truth = [task.labels[example] for example in task.texts]
    probe, converged = fit_probe(fit_vectors, task.fit_labels)
    by_probe = list(map(str, probe.predict(vectors)))
    by_neighbours = nearest_neighbours(fit_vectors, task.fit_labels, vectors)
    per_class = class_report(truth, by_probe)
    return TaskResult(
        scores={
            ACCURACY: _hits(task, truth, by_probe),
            KNN_ACCURACY: _hits(task, truth, by_neighbours),
        },
        means={
            MACRO_F1: macro_f1(per_class),
            KNN_MACRO_F1: macro_f1(class_report(truth, by_neighbours)),
        },
        per_class=per_class,
        facts={"probe_converged": float(converged)},
    )


def class_report(truth: Sequence[str], predicted: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, f1 and support by class; 0 where a share has nothing to divide by."""
    labels = sorted({*truth, *predicted})
    places = {label: place for place, label in enumerate(labels)}
    of_truth, of_guess = (
        np.array([places[label] for label in some], np.int64) for some in (truth, predicted)
    )
    support, guesses, hits = (
        np.bincount(some, minlength=len(labels))
        for some in (of_truth, of_guess, of_truth[of_truth == of_guess])
    )
    columns = {
        "precision": hits / np.maximum(guesses, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / (support + guesses),
        "support": support,
    }
    return {
        label: {name: float(column[row]) for name, column in columns.items()}
        for row, label in enumerate(labels)
    }


def macro_f1(per_class: Mapping[str, Mapping[str, float]]) -> float:
    return float(np.mean([row["f1"] for row in per_class.values()]))


def fit_probe(vectors: FloatArray, labels: Sequence[str]) -> tuple[LogisticRegression, bool]:
    """The fitted probe, and whether its solver converged; other warnings are passed on.

    The solver begins anew each time: where the probe of the epoch before ended it would save a
    third of some tens of milliseconds, and a report would hang on the epochs before.

    Args:
        vectors: Unit rows.
        labels: The class of each.
    """
    # Loaded here, for it takes longer than all of `embedsweep check`, which fits nothing.
    convergence_warning = import_module("sklearn.exceptions").ConvergenceWarning
    make_probe = import_module("sklearn.linear_model").LogisticRegression
    probe: LogisticRegression = make_probe(C=1.0, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", convergence_warning)
        _expect_few_examples_per_class()
        # The solver's many small products are slower on several threads than on one.
        with threadpool_limits(1, user_api="blas"):
            probe.fit(vectors, np.asarray(labels))
    others = [each for each in caught if not issubclass(each.category, convergence_warning)]
    for each in others:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return probe, len(others) == len(caught)


def nearest_neighbours(
    fit_vectors: FloatArray, labels: Sequence[str], vectors: FloatArray
) -> list[str]:
    """The label that most of a text's `NEIGHBOURS` nearest have; of equally many the first by name.

    Args:
        fit_vectors: Unit rows, at least one.
        labels: The label of each.
        vectors: Unit rows of the texts in question.
    """
    names, labelled = np.unique(np.asarray(labels), return_inverse=True)
    count = min(NEIGHBOURS, len(labels))
    step = max(1, BLOCK_BYTES // (np.dtype(np.float32).itemsize * len(fit_vectors)))
    found: list[str] = []
    for start in range(0, len(vectors), step):
        cosines = vectors[start : start + step] @ fit_vectors.T
        nearest = np.argpartition(cosines, -count, axis=1)[:, -count:]
        cells = np.arange(len(cosines))[:, np.newaxis] * len(names) + labelled[nearest]
        votes = np.bincount(cells.ravel(), minlength=len(cosines) * len(names))
        winners = votes.reshape(len(cosines), len(names)).argmax(axis=1)
        found += names[winners].tolist()
    return found


def _expect_few_examples_per_class() -> None:
    """Silence scikit-learn's guess that labels are numbers where most occur once: they are text."""
    warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)


def _hits(
    task: ClassificationTask, truth: Sequence[str], predicted: Sequence[str]
) -> dict[str, float]:
    return {
        example: float(right == guess)
        for example, right, guess in zip(task.texts, truth, predicted, strict=True)
    }
