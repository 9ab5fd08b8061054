"""The report of BM25 on a benchmark: what any embedding model should beat."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from time import perf_counter

import bm25s
import numpy as np

from embedsweep.core.dataset import Benchmark, RelevanceTask
from embedsweep.core.ports import FloatArray
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.ranking import Float64Array
from embedsweep.evaluation.relevance import can_tell_relevance, relevance_result
from embedsweep.evaluation.result import TaskResult, report_of
from embedsweep.evaluation.retrieval import retrieval_result

WORD = re.compile(r"\w+")


def evaluate_lexical(benchmark: Benchmark, objective: Measure | None = None) -> Report:
    """Measure BM25 by the retrieval and relevance tasks, through the ranking that models go by.

    Scores are bm25s's default, Lucene's BM25 with k1 = 1.5 and b = 0.75. Words are runs of
    letters and digits in lower case, without stop words or stemming, which serves any language
    that writes blanks between words.

    Args:
        benchmark: Other tasks than retrieval and relevance are left out.
        objective: Measured too when it is a ranked measure at a cut-off of its own.

    Raises:
        ValueError: The benchmark has no retrieval task.
    """
    task = benchmark.retrieval
    if task is None:
        raise ValueError(f"benchmark {benchmark.name!r} has no retrieval task for BM25 to rank")
    began = perf_counter()
    index = Bm25Index(task.documents.values())
    seconds = perf_counter() - began
    queries = list(task.queries.values())

    def rows(start: int, stop: int) -> FloatArray:
        return np.stack([index.scores(query) for query in queries[start:stop]])

    results = [retrieval_result(task, rows, objective)]
    relevance = benchmark.relevance
    if relevance is not None and can_tell_relevance(relevance):
        results.append(_relevance(relevance, task.documents.values()))
    facts = {"dimension": 0.0, "texts": float(len(task.documents)), "embed_seconds": seconds}
    return report_of(benchmark, results, facts)


class Bm25Index:
    """BM25 over some documents."""

    def __init__(self, documents: Iterable[str]) -> None:
        self._index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        # A document without words still needs a token, or its length is zero.
        self._index.index([_words(text) or [""] for text in documents], show_progress=False)

    def scores(self, query: str) -> FloatArray:
        """The score of every document; 0 where no word is shared."""
        known = self._index.get_tokens_ids(_words(query))
        scores: FloatArray = self._index.get_scores_from_ids(known)
        return scores


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _relevance(task: RelevanceTask, documents: Iterable[str]) -> TaskResult:
    """Score the pairs against an index that holds the pairs' own documents as well."""
    tasks = [task] if task.calibration is None else [task, task.calibration]
    paired = (document for each in tasks for _, document in each.pairs.values())
    columns = {text: place for place, text in enumerate(dict.fromkeys(chain(documents, paired)))}
    index = Bm25Index(columns)

    def similarities(of: RelevanceTask) -> Float64Array:
        rows_by_query: dict[str, list[int]] = {}
        for row, (query, _) in enumerate(of.pairs.values()):
            rows_by_query.setdefault(query, []).append(row)
        column_of_row = np.array([columns[document] for _, document in of.pairs.values()])
        found = np.empty(len(column_of_row))
        for query, rows in rows_by_query.items():
            found[rows] = index.scores(query)[column_of_row[rows]]
        return found

    return relevance_result(task, similarities)
