"""The part of a large benchmark that the epochs of a training are measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    RelevanceTask,
    RetrievalTask,
    SimilarityTask,
    TripletTask,
)
from embedsweep.evaluation.lexical import Bm25Index

QUERIES = 1_000
DOCUMENTS = 1_000
"""At least, and at least `DOCUMENTS_PER_QUERY` of them for each query."""
DOCUMENTS_PER_QUERY = 2
RELEVANT = 10
"""Of the texts of its label that a text is to find; others of that label may be drawn as others."""
POOL = 20_000
"""Of so many further documents, drawn at random, those hardest to tell apart are taken."""
EXAMPLES = 1_000
FIT_TEXTS = 5_000

_SEED = "epochs"
_Value = TypeVar("_Value")


def for_epochs(benchmark: Benchmark) -> Benchmark:
    """The same benchmark if it is small, else a sample of it: always the same one.

    It serves to compare the epochs of one training, and trainings that were measured on it, by
    pruners. Its scores are no estimate of the benchmark's own: with fewer documents to
    confuse it with, a relevant one is found more easily, and a probe fitted on fewer texts knows
    less. It has a fingerprint of its own, so that reports on the two are never paired.

    What is drawn hangs on ids and texts alone, not on their order:

    - retrieval: `QUERIES` queries and all their judged documents, or where texts of one label find
      each other, `RELEVANT` of each label that is asked for; then those documents that BM25 takes
      for relevant to the queries and that are not, up to `DOCUMENTS`. Documents drawn at random
      are told apart by every model, and so tell nothing of the models;
    - classification: `EXAMPLES` texts, and `FIT_TEXTS` to fit on, in the proportion of the
      classes, none of which is left out of the texts to fit on;
    - relevance, triplets, similarity: `EXAMPLES` each; relevance takes all pairs of a query.
    """
    retrieval, classification = benchmark.retrieval, benchmark.classification
    relevance, triplets, similarity = benchmark.relevance, benchmark.triplets, benchmark.similarity
    sampled = replace(
        benchmark,
        retrieval=retrieval and _retrieval(retrieval),
        classification=classification and _classification(classification),
        relevance=relevance and _relevance(relevance),
        triplets=triplets and TripletTask(_only(triplets.triplets, _some(triplets.triplets))),
        similarity=similarity and _similarity(similarity),
    )
    if sampled == benchmark:
        return benchmark
    ids = _ids(sampled)
    return replace(
        sampled, groups=_only(benchmark.groups, ids), slices=_only(benchmark.slices, ids)
    )


def _retrieval(task: RetrievalTask) -> RetrievalTask:
    most = max(DOCUMENTS, DOCUMENTS_PER_QUERY * min(QUERIES, len(task.queries)))
    if len(task.queries) <= QUERIES and len(task.documents) <= most:
        return task
    # By their texts, by which relevance draws too: so the two share their queries.
    asked = sorted(task.queries, key=lambda query: (_draw(task.queries[query]), query))[:QUERIES]
    order = {document: _draw(document) for document in task.documents}
    kept = set(asked) if task.leave_one_out else set()
    for query in asked:
        judged = task.judgements[query].keys()
        kept |= (
            set(nsmallest(RELEVANT, judged, order.__getitem__)) if task.leave_one_out else judged
        )
    others = nsmallest(POOL, order.keys() - kept, order.__getitem__)
    documents = _only(task.documents, kept | _hardest(task, asked, others, most - len(kept)))
    return RetrievalTask(
        queries=_only(task.queries, set(asked)),
        documents=documents,
        judgements={query: _only(task.judgements[query], documents) for query in asked},
        leave_one_out=task.leave_one_out,
    )


def _hardest(
    task: RetrievalTask, asked: Sequence[str], others: Sequence[str], count: int
) -> set[str]:
    """So many of the other documents: the first of each query by BM25, then the second.

    Documents that a query judges are none of its own; ties go by the order of `others`.
    """
    if count <= 0 or not others:
        return set()
    index = Bm25Index(task.documents[document] for document in others)
    place_of = {document: place for place, document in enumerate(others)}
    ranked = []
    for query in asked:
        scores = index.scores(task.queries[query])
        judged = task.judgements[query].keys() & place_of.keys()
        scores[[place_of[document] for document in judged]] = -np.inf
        ranked.append(np.argsort(-scores, kind="stable")[:count])
    by_rank = chain.from_iterable(np.stack(ranked, axis=1).tolist())
    return {others[place] for place in islice(dict.fromkeys(by_rank), count)}


def _classification(task: ClassificationTask) -> ClassificationTask:
    ids = list(task.texts)
    examples = _stratified([task.texts[i] for i in ids], [task.labels[i] for i in ids], EXAMPLES)
    kept = {ids[place] for place in examples}
    fitted = _stratified(task.fit_texts, task.fit_labels, FIT_TEXTS)
    return ClassificationTask(
        fit_texts=tuple(task.fit_texts[place] for place in fitted),
        fit_labels=tuple(task.fit_labels[place] for place in fitted),
        texts=_only(task.texts, kept),
        labels=_only(task.labels, kept),
    )


def _relevance(task: RelevanceTask) -> RelevanceTask:
    pairs_of: dict[str, list[str]] = {}
    for example, (query, _) in task.pairs.items():
        pairs_of.setdefault(query, []).append(example)
    kept: set[str] = set()
    for query in sorted(pairs_of, key=_draw):
        if len(kept) + len(pairs_of[query]) <= EXAMPLES:
            kept.update(pairs_of[query])
    return RelevanceTask(
        pairs=_only(task.pairs, kept),
        relevant=_only(task.relevant, kept),
        calibration=task.calibration and _relevance(task.calibration),
    )


def _similarity(task: SimilarityTask) -> SimilarityTask:
    kept = _some(task.pairs)
    return SimilarityTask(_only(task.pairs, kept), _only(task.scores, kept))


def _some(examples: Collection[str]) -> set[str]:
    return set(sorted(examples, key=_draw)[:EXAMPLES])


def _stratified(texts: Sequence[str], labels: Sequence[str], count: int) -> list[int]:
    """Places of so many texts, ascending: the first of each label, then each in its proportion."""
    members: dict[str, list[int]] = {}
    for place in sorted(range(len(texts)), key=lambda place: (_draw(texts[place]), place)):
        members.setdefault(labels[place], []).append(place)
    ranked = [
        (rank > 0, (rank + 0.5) / len(some), texts[place], place)
        for some in members.values()
        for rank, place in enumerate(some)
    ]
    return sorted(place for *_, place in sorted(ranked)[:count])


def _only(values: Mapping[str, _Value], keys: Container[str]) -> dict[str, _Value]:
    """The values of these keys, in the order they came in."""
    return {key: value for key, value in values.items() if key in keys}


def _draw(key: str) -> bytes:
    # A text may hold half a surrogate pair: JSON allows it.
    return hashlib.sha256(f"{_SEED}\0{key}".encode("utf-8", "surrogatepass")).digest()


def _ids(benchmark: Benchmark) -> set[str]:
    """Of all that is scored one by one."""
    ids: set[str] = set()
    if benchmark.retrieval is not None:
        ids.update(benchmark.retrieval.queries)
    if benchmark.classification is not None:
        ids.update(benchmark.classification.texts)
    for task in (benchmark.relevance, benchmark.similarity):
        ids.update(task.pairs if task is not None else ())
    if benchmark.triplets is not None:
        ids.update(benchmark.triplets.triplets)
    return ids
