"""Exact search in bounded memory: at which rank each query finds its relevant documents.

Ties never help. Documents that are not relevant stand before a relevant one of equal score, and
among relevant ones of equal score the lower grade stands first, so every measure taken from these
ranks is the worst that any order of the tied documents could give.
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

    Attributes:
        ranks: 1-based and ascending, one per relevant document.
        grades: The grade of the document at each of the ranks.
        tied: Whether two of the first `TOP` + 1 documents have equal scores.
    """

    ranks: IntArray
    grades: Float64Array
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
        Query id and ranks, in the order of the queries.
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
    """The ranks of one query's relevant documents.

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
    tied = bool((np.diff(row[-TOP - 1 :]) <= tolerance).any())
    if not relevant:
        return RankedQuery(columns, grades, tied)

    order = np.argsort(-scores, kind="stable")
    scores, grades = scores[order], grades[order]
    # Relevant documents tied with their neighbour form one level; all of a level are ranked from
    # the level's lowest score.
    level = np.append(0, np.cumsum(-np.diff(scores) > tolerance))
    lowest = scores[np.searchsorted(level, level, side="right") - 1]
    floor = (lowest - tolerance).astype(np.float32)
    at_or_above = len(row) - np.searchsorted(row, floor)
    relevant_at_or_above = len(scores) - np.searchsorted(scores[::-1].astype(np.float32), floor)
    ranks = at_or_above - relevant_at_or_above + np.arange(1, len(scores) + 1)
    return RankedQuery(ranks, grades[np.lexsort((grades, level))], tied)
