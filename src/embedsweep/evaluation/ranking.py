"""Exact search in bounded memory: on which level each query finds its relevant documents.

Ties neither help nor hurt. Documents of equal score stand in no order of their own, least of all
that of the corpus: they form a level, and a measure is its expected value over all the orders that
the documents of each level could have. McSherry and Najork, "Computing information retrieval
performance measures efficiently in the presence of tied scores", ECIR 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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


def rank(
    task: RetrievalTask, score_rows: ScoreRows, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[str, RankedQuery]]:
    """Rank all documents for every query.

    Args:
        task: Every judged document is among its documents; grades up to 0 are not relevant.
        score_rows: The scores, in the order of the task's queries and documents.
        block_bytes: A block of score rows takes no more than this, or is one row.

    Yields:
        Query id and levels, in the order of the queries.
    """
    columns = {document: column for column, document in enumerate(task.documents)}
    queries = list(task.queries)
    step = max(1, block_bytes // (np.dtype(np.float32).itemsize * len(columns)))
    for start in range(0, len(queries), step):
        some = queries[start : start + step]
        for query, row in zip(some, score_rows(start, start + len(some)), strict=True):
            own = columns[query] if task.leave_one_out else None
            relevant = {
                columns[document]: grade
                for document, grade in task.judgements[query].items()
                if grade > 0 and columns[document] != own
            }
            yield query, rank_row(row, relevant, own)


def rank_row(
    row: FloatArray, relevant: Mapping[int, int], left_out: int | None = None
) -> RankedQuery:
    """The levels on which one query finds its relevant documents.

    Args:
        row: Finite score by document; sorted in place.
        relevant: Grade, above 0, by column of `row`.
        left_out: Column of a document that takes no part.
    """
    columns = np.fromiter(relevant, dtype=np.int64, count=len(relevant))
    grades = np.fromiter(relevant.values(), dtype=np.float64, count=len(relevant))
    scores = row[columns].astype(np.float64)
    tolerance = TIE * max(1.0, float(row.max()), -float(row.min()))
    if left_out is not None:
        row[left_out] = -np.inf
    row.sort()

    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    # All documents from `lowest` to `highest` are tied with the relevant one between them.
    highest = (scores + tolerance).astype(np.float32)
    lowest = (scores - tolerance).astype(np.float32)
    # Where two such spans meet, a document could be tied with both: they are one level.
    begins = np.ones(len(scores), dtype=np.bool_)
    begins[1:] = highest[1:] < lowest[:-1]
    first = np.flatnonzero(begins)
    after = np.append(first, len(scores))[1:]
    above = len(row) - np.searchsorted(row, highest[first], side="right")
    at_or_above = len(row) - np.searchsorted(row, lowest[after - 1])
    return RankedQuery(
        above=above,
        size=at_or_above - above,
        relevant=after - first,
        gains=np.add.reduceat(grades[order], first) if len(first) else grades,
        grades=np.sort(grades)[::-1],
        documents=len(row) - (left_out is not None),
        tied=bool((np.diff(row[-TOP - 1 :]) <= tolerance).any()),
    )
