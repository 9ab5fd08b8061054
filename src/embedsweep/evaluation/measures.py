"""Measures of rankings: their expected values where documents are tied.

Each takes the levels of some queries and a cut-off ``k`` and returns 0 to 1 for each query; 0
where nothing is relevant, as in trec_eval. Without ties they agree with trec_eval's measures of
the names given. With ties they are the mean over all orders of the documents of each level, by
the closed forms of McSherry and Najork, ECIR 2008: a document of a level is equally likely on each
of its ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedsweep.core.report import Measure
from embedsweep.evaluation.ranking import Float64Array, IntArray, RankedQuery


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of some queries, one query after the other.

    Attributes:
        query: Place of the query that each level is of, ascending.
        above, size, relevant, gains: As of `RankedQuery`, by level.
        graded: Place of the query that each relevant document is of, ascending.
        grades: Of the relevant documents; a query's highest first.
        found: Relevant documents by query.
        documents: The most that were ranked for a query.
    """

    query: IntArray
    above: IntArray
    size: IntArray
    relevant: IntArray
    gains: Float64Array
    graded: IntArray
    grades: Float64Array
    found: IntArray
    documents: int

    @classmethod
    def of(cls, queries: Sequence[RankedQuery]) -> Levels:
        """Those of at least one query."""
        places = np.arange(len(queries))
        found = np.array([len(each.grades) for each in queries])
        return cls(
            query=np.repeat(places, [len(each.above) for each in queries]),
            above=np.concatenate([each.above for each in queries]),
            size=np.concatenate([each.size for each in queries]),
            relevant=np.concatenate([each.relevant for each in queries]),
            gains=np.concatenate([each.gains for each in queries]),
            graded=np.repeat(places, found),
            grades=np.concatenate([each.grades for each in queries]),
            found=found,
            documents=max(each.documents for each in queries),
        )

    def ranks(self, k: int) -> tuple[IntArray, IntArray]:
        """The ranks of each level up to k: those above the first number, up to the second."""
        return np.minimum(self.above, k), np.minimum(self.above + self.size, k)

    def sums(self, of_levels: Float64Array) -> Float64Array:
        """The sum over the levels of each query."""
        sums = np.bincount(self.query, weights=of_levels, minlength=len(self.found))
        return sums.astype(np.float64, copy=False)


RankedMeasure = Callable[[Levels, int], Float64Array]


def ndcg(levels: Levels, k: int) -> Float64Array:
    """Normalised discounted cumulative gain with linear gain; trec_eval's ``ndcg_cut``.

    DCG@k is the sum of ``grade / log2(rank + 1)`` over the relevant documents up to rank k, and
    the value is DCG@k over that of the best order. Järvelin and Kekäläinen, "Cumulated gain-based
    evaluation of IR techniques", ACM TOIS 20(4), 2002, with the discount that trec_eval uses.
    """
    discounts = _running(1 / np.log2(np.arange(2, min(k, levels.documents) + 2)))
    start, stop = levels.ranks(k)
    dcg = levels.sums(levels.gains / levels.size * (discounts[stop] - discounts[start]))
    rank = np.arange(len(levels.grades)) - _before(levels.found)[levels.graded] + 1
    top = rank <= k
    best = np.bincount(
        levels.graded[top],
        weights=levels.grades[top] * np.diff(discounts)[rank[top] - 1],
        minlength=len(levels.found),
    )
    return np.minimum(1.0, _shares(dcg, best))


def reciprocal_rank(levels: Levels, k: int) -> Float64Array:
    """One over the first relevant rank, 0 if that is beyond k; trec_eval's ``recip_rank``, cut."""
    first = np.flatnonzero(np.diff(levels.query, prepend=-1))
    first = first[levels.above[first] < k]
    values = np.zeros(len(levels.found))
    values[levels.query[first]] = 1 / (levels.above[first] + 1)
    for level in first[levels.relevant[first] < levels.size[first]]:
        above, size = int(levels.above[level]), int(levels.size[level])
        relevant = int(levels.relevant[level])
        # So many others of the level may stand before its first relevant document.
        others = np.arange(min(size - relevant + 1, k - above))
        next_is_relevant = relevant / (size - others)
        none_before = np.append(1.0, np.cumprod(1 - next_is_relevant[:-1]))
        terms = none_before * next_is_relevant / (above + others + 1)
        values[levels.query[level]] = terms.sum()
    return values


def average_precision(levels: Levels, k: int) -> Float64Array:
    """Precision at every relevant rank up to k, over all relevant; trec_eval's ``map_cut``.

    Before a relevant document stand the relevant ones of the levels above, and of the other ones
    of its own level as large a share as of the level's ranks.
    """
    start, stop = levels.ranks(k)
    reciprocals = _running(1 / np.arange(1, min(k, levels.documents) + 1))
    sums = reciprocals[stop] - reciprocals[start]
    at_best = _before(levels.relevant) - _before(levels.found)[levels.query] + 1
    share = (levels.relevant - 1) / np.maximum(levels.size - 1, 1)
    # Sum of (at_best + share * (rank - above - 1)) / rank over the ranks of the level.
    precisions = (at_best - share * (levels.above + 1)) * sums + share * (stop - start)
    means = _shares(levels.sums(levels.relevant / levels.size * precisions), levels.found)
    return np.minimum(1.0, means)


def recall(levels: Levels, k: int) -> Float64Array:
    """Share of the relevant documents found up to rank k; trec_eval's ``recall``."""
    return _shares(_found(levels, k), levels.found)


def precision(levels: Levels, k: int) -> Float64Array:
    """Relevant documents up to rank k over k, even if fewer exist; trec_eval's ``P``."""
    return _found(levels, k) / k


RANKED_MEASURES: Mapping[str, RankedMeasure] = {
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
    "recall": recall,
    "precision": precision,
}


def scores(measure: Measure, levels: Levels) -> Float64Array:
    """The measure of each query."""
    k = levels.documents if measure.k is None else measure.k
    return RANKED_MEASURES[measure.name](levels, k)


def _found(levels: Levels, k: int) -> Float64Array:
    start, stop = levels.ranks(k)
    return levels.sums(levels.relevant * (stop - start) / levels.size)


def _running(terms: Float64Array) -> Float64Array:
    """The sum of the first 0, 1, … all terms."""
    return np.append(0.0, np.cumsum(terms))


def _before(counts: IntArray) -> IntArray:
    """The sum of all counts before each."""
    before: IntArray = np.cumsum(counts) - counts
    return before


def _shares(parts: Float64Array, wholes: Float64Array | IntArray) -> Float64Array:
    """Part by whole; 0 where the whole is."""
    return np.divide(parts, wholes, out=np.zeros(len(parts)), where=wholes > 0)
