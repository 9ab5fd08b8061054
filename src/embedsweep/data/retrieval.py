"""Benchmarks of retrieval data: the retrieval task, and telling relevant from irrelevant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import bm25s
import numpy as np

from embedsweep.core.dataset import Benchmark, RelevanceTask, RetrievalTask, Split
from embedsweep.core.ports import FloatArray
from embedsweep.data.text import draw_order

MAX_RELEVANT = 2000
"""Relevant pairs a relevance task takes at most, drawn by hash."""
_DRAW_SEED = 7
_WORD = r"(?u)\b\w+\b"


def retrieval_benchmark(
    name: str,
    split: Split,
    retrieval: RetrievalTask,
    groups: Mapping[str, str],
    slices: Mapping[str, str],
) -> Benchmark:
    """A benchmark of both kinds from retrieval data.

    Args:
        name: The data set's.
        split: The split's.
        retrieval: The retrieval task.
        groups: Group by query id, where the data has groups. An example belongs to the group of
            its query or else, as one query has several, to the query.
        slices: Slice by query id, where the data has slices. An example has its query's.
    """
    relevance, query_of = relevance_task(split, retrieval)
    of_examples = {example: groups.get(query, query) for example, query in query_of.items()}
    return Benchmark(
        name=name,
        split=split,
        retrieval=retrieval,
        relevance=relevance,
        groups={**groups, **of_examples},
        slices={
            **slices,
            **{each: slices[query] for each, query in query_of.items() if query in slices},
        },
    )


def relevance_task(
    split: Split, retrieval: RetrievalTask
) -> tuple[RelevanceTask | None, dict[str, str]]:
    """Relevant pairs, and as many irrelevant ones that look alike.

    A query with n chosen relevant documents is also paired with the n documents that BM25 ranks
    highest among those not judged relevant to it. At most `MAX_RELEVANT` relevant pairs are
    chosen, by hash.

    Returns:
        The task, or None where every document is relevant to its query; and the query id of each
        example.
    """
    pairs: dict[str, tuple[str, str]] = {}
    query_of: dict[str, str] = {}
    relevant: dict[str, bool] = {}

    def add(query: str, document: str, *, is_relevant: bool) -> None:
        example = f"{split}-{'relevant' if is_relevant else 'irrelevant'}-{len(pairs)}"
        pairs[example] = (retrieval.queries[query], retrieval.documents[document])
        relevant[example] = is_relevant
        query_of[example] = query

    chosen = _chosen(retrieval.judgements)
    search = _Bm25(retrieval.documents)
    words = _words([retrieval.queries[query] for query in chosen])
    for (query, documents), asked in zip(chosen.items(), words, strict=True):
        for document in documents:
            add(query, document, is_relevant=True)
        judged = {document for document, grade in retrieval.judgements[query].items() if grade > 0}
        text = retrieval.queries[query]
        for document in search.best(asked, text, judged, len(documents)):
            add(query, document, is_relevant=False)
    if all(relevant.values()):
        return None, {}
    return RelevanceTask(pairs, relevant), query_of


def _chosen(judgements: Mapping[str, Mapping[str, int]]) -> dict[str, list[str]]:
    """Relevant documents by query, at most `MAX_RELEVANT` of them, in the order they came."""
    pairs = [
        (query, document)
        for query, grades in judgements.items()
        for document, grade in grades.items()
        if grade > 0
    ]
    drawn = sorted(range(len(pairs)), key=lambda i: draw_order(_DRAW_SEED, "\0".join(pairs[i])))
    chosen: dict[str, list[str]] = {}
    for index in sorted(drawn[:MAX_RELEVANT]):
        query, document = pairs[index]
        chosen.setdefault(query, []).append(document)
    return chosen


class _Bm25:
    """BM25 over documents. Documents of equal score come in an order drawn by the query."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self._ids = list(documents)
        self._positions = {document: position for position, document in enumerate(self._ids)}
        words = _words(list(documents.values()))
        self._index: bm25s.BM25 | None = None
        if any(words):
            self._index = bm25s.BM25(backend="numpy")
            self._index.index(words, show_progress=False)

    def best(self, words: list[str], query: str, without: set[str], count: int) -> list[str]:
        """The highest documents.

        Args:
            words: Of the query.
            query: The query itself.
            without: Documents that are left out.
            count: How many to give, or as many as there are.
        """
        scores = self._scores(words)
        scores[[self._positions[document] for document in without]] = -np.inf
        turn = int.from_bytes(draw_order(_DRAW_SEED, query), "big") % len(scores)
        turned = np.roll(scores, -turn)
        found: list[str] = []
        while len(found) < count:
            position = int(turned.argmax())
            if turned[position] == -np.inf:
                break
            turned[position] = -np.inf
            found.append(self._ids[(position + turn) % len(scores)])
        return found

    def _scores(self, words: list[str]) -> FloatArray:
        if self._index is None:
            return np.zeros(len(self._ids), dtype=np.float32)
        known = self._index.get_tokens_ids(words)
        scores: FloatArray = self._index.get_scores_from_ids(known)
        return scores


def _words(texts: Sequence[str]) -> list[list[str]]:
    words: list[list[str]] = bm25s.tokenize(
        list(texts),
        stopwords=[],
        token_pattern=_WORD,
        return_ids=False,
        show_progress=False,
    )
    return words


@dataclass(frozen=True, slots=True)
class Numbering:
    """Ids for distinct texts, in the order they are first met."""

    prefix: str
    ids: dict[str, str]
    texts: dict[str, str]

    @classmethod
    def of(cls, prefix: str) -> Numbering:
        return cls(prefix, {}, {})

    def add(self, key: str, text: str) -> str:
        """The id of ``key``; the first text met under it stands for it."""
        number = self.ids.setdefault(key, f"{self.prefix}-{len(self.ids)}")
        self.texts.setdefault(number, text)
        return number
