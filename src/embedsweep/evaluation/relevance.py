"""Relevant or not: classification of query-document pairs by their similarity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from embedsweep.core.dataset import RelevanceTask
from embedsweep.core.report import Measure
from embedsweep.evaluation.ranking import Float64Array
from embedsweep.evaluation.result import TaskResult

AVERAGE_PRECISION = Measure("relevance_average_precision")
F1 = Measure("relevance_f1")
ACCURACY = Measure("relevance_accuracy")
RELEVANCE_MEASURES = (AVERAGE_PRECISION, F1, ACCURACY)

BoolArray = npt.NDArray[np.bool_]

SimilaritiesOf = Callable[[RelevanceTask], Float64Array]
"""Similarity of each pair of a task, in the order of its pairs."""


def can_tell_relevance(task: RelevanceTask) -> bool:
    """Whether there are relevant and irrelevant pairs to tell apart."""
    return len(set(task.relevant.values())) > 1


def relevance_result(task: RelevanceTask, similarities_of: SimilaritiesOf) -> TaskResult:
    """Average precision, and F1 and accuracy at thresholds chosen on the calibration pairs.

    Average precision needs no threshold. F1 and accuracy each use the threshold that was best
    for it on the calibration pairs, which are the task's own where it has none.

    Args:
        task: One that `can_tell_relevance`.
        similarities_of: Higher is more alike; any finite scale.
    """
    similarities, relevant = similarities_of(task), _truth(task)
    known, answers = similarities, relevant
    if task.calibration is not None:
        known, answers = similarities_of(task.calibration), _truth(task.calibration)
    accepted = similarities >= f1_threshold(known, answers)
    right = (similarities >= accuracy_threshold(known, answers)) == relevant
    true_positives = int((accepted & relevant).sum())
    return TaskResult(
        scores={ACCURACY: dict(zip(task.pairs, right.astype(float).tolist(), strict=True))},
        means={
            AVERAGE_PRECISION: average_precision(similarities, relevant),
            F1: 2 * true_positives / int(accepted.sum() + relevant.sum()),
        },
    )


def average_precision(similarities: Float64Array, relevant: BoolArray) -> float:
    """The precision at every threshold that cuts differently, weighted by the recall it adds."""
    _, accepted, found = _cuts(similarities, relevant)
    return float((np.diff(found) * (found[1:] / accepted[1:])).sum() / found[-1])


def f1_threshold(similarities: Float64Array, relevant: BoolArray) -> float:
    """The threshold with the highest F1; the highest one of equals."""
    thresholds, accepted, true_positives = _cuts(similarities, relevant)
    f1 = 2 * true_positives / np.maximum(accepted + relevant.sum(), 1)
    return float(thresholds[f1.argmax()])


def accuracy_threshold(similarities: Float64Array, relevant: BoolArray) -> float:
    """The threshold with the highest accuracy; the highest one of equals."""
    thresholds, accepted, true_positives = _cuts(similarities, relevant)
    return float(thresholds[(2 * true_positives - accepted).argmax()])


def _cuts(
    similarities: Float64Array, relevant: BoolArray
) -> tuple[Float64Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every threshold that cuts differently, with the pairs it accepts and how many are relevant.

    Thresholds fall from infinity, which accepts none, midway between neighbouring similarities
    to the lowest similarity, which accepts all.
    """
    order = np.argsort(-similarities, kind="stable")
    falling = similarities[order]
    last_of_equals = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))
    found = np.cumsum(relevant[order])[last_of_equals]
    lowest_accepted = falling[last_of_equals]
    next_lower = falling[np.minimum(last_of_equals + 1, len(falling) - 1)]
    midway = (lowest_accepted + next_lower) / 2
    # Between neighbouring floats there is no middle: the mean is then one of the two.
    midway = np.where(midway > next_lower, midway, lowest_accepted)
    return (
        np.append(np.inf, midway),
        np.append(0, last_of_equals + 1),
        np.append(0, found),
    )


def _truth(task: RelevanceTask) -> BoolArray:
    return np.array([task.relevant[example] for example in task.pairs], dtype=np.bool_)
