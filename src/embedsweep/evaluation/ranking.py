"""Exact search in bounded memory: on which level each query finds its relevant documents.

Ties neither help nor hurt. Documents of equal score stand in no order of their own, least of all
that of the corpus: they form a level, and a measure is its expected value over all the orders that
the documents of each level could have. McSherry and Najork, "Computing information retrieval
performance measures efficiently in the presence of tied scores", ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt, log2

import numpy as np
import numpy.typing as npt

from embedsweep.core.dataset import RetrievalTask
from embedsweep.core.ports import FloatArray

IntArray = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

ScoreRows = Callable[[int, int], FloatArray]
"""Scores of the queries from start to stop (in the task's order) against every document.

A new float32 array of shape (stop - start, documents) at every call: the ranking writes in it.
"""

TIE = 4 * float(np.finfo(np.float32).eps)
"""Scores this near to each other are equal, relative to the row's largest score or 1.

A float32 matrix product sums the columns in different orders, so that equal vectors get scores
up to 2e-7 apart, by where they stand. Exact comparison would let that position decide.
"""

TOP = 10
"""Ties are counted where they touch the first ten ranks."""

BLOCK_BYTES = 64 * 2**20

COUNTED_COLUMNS = 256
"""A score is read for counting in a fraction of the time that sorting takes for it, but each count
has a fixed cost, worth about so many scores."""


@dataclass(frozen=True, slots=True)
class RankedQuery:
    """Where a query finds its relevant documents.

    A level is what is tied with a relevant document, or one such document alone. Levels without
    any relevant document are not kept, but count in `above`.

    Attributes:
        above: Documents that stand before each level, ascending.
        size: Documents of each level, relevant or not.
        relevant: Relevant documents of each level, at least one.
        gains: Sum of their grades, by level.
        grades: Grade of every relevant document, the highest first.
        documents: How many were ranked.
        tied: Whether two of the first `TOP` + 1 documents have equal scores.
    """

    above: IntArray
    size: IntArray
    relevant: IntArray
    gains: Float64Array
    grades: Float64Array
    documents: int
    tied: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """The relevant documents of a task's queries as places: what does not hang on any scores.

    Attributes:
        queries: The ids.
        bounds: Where each query's documents begin in the arrays below; and where the last one's
            end.
        columns: Place of the document in the task.
        grades: Its grade, above 0; the highest of a query first.
        own: Place of the document that each query leaves out; None where none does.
        documents: How many the task has.
    """

    queries: tuple[str, ...]
    bounds: IntArray
    columns: IntArray
    grades: Float64Array
    own: IntArray | None
    documents: int

    @classmethod
    def of(cls, task: RetrievalTask) -> Judged:
        """Those of a task; every judged document is among its documents."""
        columns = {document: column for column, document in enumerate(task.documents)}
        queries = tuple(task.queries)
        relevant = [
            sorted(
                (
                    (-grade, columns[document])
                    for document, grade in task.judgements[query].items()
                    if grade > 0 and not (task.leave_one_out and document == query)
                )
            )
            for query in queries
        ]
        flat = np.array([pair for pairs in relevant for pair in pairs], np.int64).reshape(-1, 2)
        own = [columns[query] for query in queries] if task.leave_one_out else None
        return cls(
            queries=queries,
            bounds=np.append(0, np.cumsum([len(pairs) for pairs in relevant])),
            columns=flat[:, 1],
            grades=-flat[:, 0].astype(np.float64),
            own=None if own is None else np.array(own),
            documents=len(columns),
        )

    def part(self, start: int, stop: int) -> Judged:
        """Those of the queries from start to stop."""
        some = slice(self.bounds[start], self.bounds[stop])
        return Judged(
            queries=self.queries[start:stop],
            bounds=self.bounds[start : stop + 1] - self.bounds[start],
            columns=self.columns[some],
            grades=self.grades[some],
            own=None if self.own is None else self.own[start:stop],
            documents=self.documents,
        )


def rank(
    task: RetrievalTask | Judged, score_rows: ScoreRows, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[str, RankedQuery]]:
    """Rank all documents for every query.

    Args:
        task: Every judged document is among its documents; grades up to 0 are not relevant.
        score_rows: The scores, in the order of the task's queries and documents.
        block_bytes: A block of score rows takes no more than this, or is one row.

    Yields:
        Query id and levels, in the order of the queries.
    """
    judged = task if isinstance(task, Judged) else Judged.of(task)
    step = max(1, block_bytes // (np.dtype(np.float32).itemsize * judged.documents))
    for start in range(0, len(judged.queries), step):
        some = judged.part(start, min(start + step, len(judged.queries)))
        scores = score_rows(start, start + len(some.queries))
        yield from zip(some.queries, _rank_block(scores, some), strict=True)


def rank_row(
    row: FloatArray, relevant: Mapping[int, int], left_out: int | None = None
) -> RankedQuery:
    """The levels on which one query finds its relevant documents.

    Args:
        row: Finite score by document; written in.
        relevant: Grade, above 0, by column of `row`.
        left_out: Column of a document that takes no part.
    """
    pairs = sorted(relevant.items(), key=lambda pair: -pair[1])
    judged = Judged(
        queries=("",),
        bounds=np.array([0, len(pairs)]),
        columns=np.array([column for column, _ in pairs], np.int64),
        grades=np.array([grade for _, grade in pairs], np.float64),
        own=None if left_out is None else np.array([left_out]),
        documents=len(row),
    )
    [ranked] = _rank_block(row[np.newaxis], judged)
    return ranked


def _rank_block(scores: FloatArray, judged: Judged) -> Iterator[RankedQuery]:
    """The levels of some queries; writes in their scores, (queries, documents)."""
    found = np.diff(judged.bounds)
    query = np.repeat(np.arange(len(found)), found)
    of_relevant = scores[query, judged.columns].astype(np.float64)
    largest = np.maximum(scores.max(axis=1), -scores.min(axis=1)).astype(np.float64)
    tolerance = TIE * np.maximum(1.0, largest)
    if judged.own is not None:
        scores[np.arange(len(found)), judged.own] = -np.inf

    order = np.lexsort((-of_relevant, query))
    of_relevant = of_relevant[order]
    # All documents from `lowest` to `highest` are tied with the relevant one between them.
    highest = (of_relevant + tolerance[query]).astype(np.float32)
    lowest = (of_relevant - tolerance[query]).astype(np.float32)
    # Where two such spans meet, a document could be tied with both: they are one level.
    begins = np.ones(len(query), dtype=np.bool_)
    begins[1:] = (highest[1:] < lowest[:-1]) | (query[1:] != query[:-1])
    first = np.flatnonzero(begins)
    after = np.append(first, len(query))[1:]
    thresholds = np.stack([np.nextafter(highest[first], np.float32(np.inf)), lowest[after - 1]])
    bounds = np.searchsorted(query[first], np.arange(len(found) + 1))
    counts, top = _counted(scores, bounds, thresholds.T)

    above, size, relevant = counts[:, 0], counts[:, 1] - counts[:, 0], after - first
    grades = judged.grades[order]
    gains = np.add.reduceat(grades, first) if len(first) else grades
    tied = (np.diff(top, axis=1) <= tolerance[:, np.newaxis]).any(axis=1).tolist()
    ends = zip(pairwise(bounds.tolist()), pairwise(judged.bounds.tolist()), strict=True)
    for place, ((start, stop), (first_grade, last_grade)) in enumerate(ends):
        yield RankedQuery(
            above=above[start:stop],
            size=size[start:stop],
            relevant=relevant[start:stop],
            gains=gains[start:stop],
            grades=judged.grades[first_grade:last_grade],
            documents=judged.documents - (judged.own is not None),
            tied=tied[place],
        )


def _counted(
    scores: FloatArray, bounds: IntArray, thresholds: FloatArray
) -> tuple[IntArray, FloatArray]:
    """How many scores of its row reach each threshold, and the highest scores of each row.

    Args:
        scores: Finite, or minus infinity once a row; rows of them may be sorted in place.
        bounds: Where the thresholds of each row begin, and where the last one's end.
        thresholds: (any, 2).
    """
    rows, columns = scores.shape
    counts = np.empty(thresholds.shape, dtype=np.int64)
    ends = enumerate(pairwise(bounds.tolist()))
    # Sorting takes a time that grows with the logarithm of the columns, and serves all thresholds.
    if len(thresholds) < rows * min(columns // COUNTED_COLUMNS, 2 * log2(columns)):
        for row, (start, stop) in ends:
            of_row = scores[row]
            for place in range(start, stop):
                for side in (0, 1):
                    counts[place, side] = np.count_nonzero(of_row >= thresholds[place, side])
        return counts, _highest(scores, TOP + 1)
    highest = np.empty((rows, min(TOP + 1, columns)), dtype=np.float32)
    for row, (start, stop) in ends:
        # What is below all thresholds need not be sorted.
        some = scores[row][scores[row] >= thresholds[start:stop].min(initial=np.inf)]
        if len(some) < highest.shape[1]:
            some = scores[row]
        some.sort()
        counts[start:stop] = len(some) - np.searchsorted(some, thresholds[start:stop])
        highest[row] = some[-highest.shape[1] :]
    return counts, highest


def _highest(scores: FloatArray, count: int) -> FloatArray:
    """The so many highest scores of each row, ascending; there are more columns than their square.

    The columns are dealt out into parts. Beyond the parts with the highest maxima there is no
    score that so many others do not reach.
    """
    rows, columns = scores.shape
    parts = isqrt(count * columns)
    dealt = scores[:, : columns // parts * parts].reshape(rows, -1, parts)
    best = np.argpartition(dealt.max(axis=1), -count, axis=1)[:, -count:]
    chosen = np.take_along_axis(dealt, best[:, np.newaxis], axis=2).reshape(rows, -1)
    candidates = np.concatenate([chosen, scores[:, columns // parts * parts :]], axis=1)
    candidates.partition(-count, axis=1)
    highest: FloatArray = np.sort(candidates[:, -count:], axis=1)
    return highest
