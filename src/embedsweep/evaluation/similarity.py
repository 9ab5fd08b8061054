"""Agreement with people's scores, and triplets put the right way round."""

from __future__ import annotations

import numpy as np

from embedsweep.core.dataset import SimilarityTask, TripletTask
from embedsweep.core.report import Measure
from embedsweep.evaluation.ranking import TIE, Float64Array
from embedsweep.evaluation.result import TaskResult

SPEARMAN = Measure("spearman")
TRIPLET_ACCURACY = Measure("triplet_accuracy")


def similarity_result(task: SimilarityTask, similarities: Float64Array) -> TaskResult:
    """Spearman's rank correlation of the similarities with the true scores.

    Spearman's rho is Pearson's correlation of the ranks, equal values sharing their mean rank.
    With both sides' ranks standardised to mean 0 and population variance 1 that is the mean, over
    the pairs, of the product of the two. These products are the per-example scores, so that their
    mean is rho exactly and two models can be compared pair by pair. A side without any spread
    orders nothing: its products are 0.

    Args:
        task: Pairs with their true scores.
        similarities: One per pair, in the order of the pairs.
    """
    truth = np.array([task.scores[example] for example in task.pairs], dtype=np.float64)
    products = _standardised_ranks(similarities) * _standardised_ranks(truth)
    return TaskResult(scores={SPEARMAN: dict(zip(task.pairs, products.tolist(), strict=True))})


def triplet_result(
    task: TripletTask, to_positive: Float64Array, to_negative: Float64Array
) -> TaskResult:
    """Share of triplets whose anchor is nearer to its positive; a tie is wrong.

    Args:
        task: The triplets.
        to_positive: Similarity of anchor and positive, in the order of the triplets.
        to_negative: Similarity of anchor and negative, likewise.
    """
    right = (to_positive - to_negative > TIE).astype(float)
    return TaskResult(
        scores={TRIPLET_ACCURACY: dict(zip(task.triplets, right.tolist(), strict=True))}
    )


def _standardised_ranks(values: Float64Array) -> Float64Array:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return np.zeros(len(values))
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    standardised: Float64Array = (ranks - ranks.mean()) / ranks.std()
    return standardised
