"""Measures of one ranking, from the ranks and grades of its relevant documents.

Each takes ranks (1-based, ascending), the grade at each rank (above 0) and a cut-off ``k``
(infinity for the whole ranking), at least one relevant document given, and returns 0 to 1. They
agree with trec_eval's measures of the names given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from embedsweep.core.report import Measure
from embedsweep.evaluation.ranking import Float64Array, IntArray, RankedQuery

RankedMeasure = Callable[[IntArray, Float64Array, float], float]


def ndcg(ranks: IntArray, grades: Float64Array, k: float) -> float:
    """Normalised discounted cumulative gain with linear gain; trec_eval's ``ndcg_cut``.

    DCG@k is the sum of ``grade / log2(rank + 1)`` over the relevant documents up to rank k, and
    the value is DCG@k over that of the best order. Järvelin and Kekäläinen, "Cumulated gain-based
    evaluation of IR techniques", ACM TOIS 20(4), 2002, with the discount that trec_eval uses.
    """
    best = np.sort(grades)[::-1]
    return _dcg(ranks, grades, k) / _dcg(np.arange(1, len(best) + 1), best, k)


def _dcg(ranks: IntArray, grades: Float64Array, k: float) -> float:
    gains = grades / np.log2(ranks + 1)
    return float(gains[ranks <= k].sum())


def reciprocal_rank(ranks: IntArray, grades: Float64Array, k: float) -> float:
    """One over the first relevant rank, 0 if that is beyond k; trec_eval's ``recip_rank``, cut."""
    return 1.0 / float(ranks[0]) if ranks[0] <= k else 0.0


def average_precision(ranks: IntArray, grades: Float64Array, k: float) -> float:
    """Precision at every relevant rank up to k, over all relevant; trec_eval's ``map_cut``."""
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return float(precisions[ranks <= k].sum()) / len(ranks)


def recall(ranks: IntArray, grades: Float64Array, k: float) -> float:
    """Share of the relevant documents found up to rank k; trec_eval's ``recall``."""
    return int((ranks <= k).sum()) / len(ranks)


def precision(ranks: IntArray, grades: Float64Array, k: float) -> float:
    """Relevant documents up to rank k over k, even if fewer exist; trec_eval's ``P``."""
    return int((ranks <= k).sum()) / k


RANKED_MEASURES: Mapping[str, RankedMeasure] = {
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
}


def score(measure: Measure, query: RankedQuery) -> float:
    """The measure of one query; 0 where nothing is relevant, as in trec_eval."""
    if not len(query.ranks):
        return 0.0
    k = math.inf if measure.k is None else measure.k
    return RANKED_MEASURES[measure.name](query.ranks, query.grades, k)
