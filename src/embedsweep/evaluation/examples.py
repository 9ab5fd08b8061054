"""What a person reads of one query or example: its texts, and what the right answer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedsweep.core.dataset import Benchmark, RetrievalTask
from embedsweep.core.report import RANKED, Measure

MOST_DOCUMENTS = 3
"""Relevant documents shown of a query; the others are counted."""


@dataclass(frozen=True, slots=True)
class Part:
    """A text, whole, and what it is: ``query``, ``relevant``, ``label`` and so on."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One query or example of a benchmark.

    Attributes:
        id: Its id in the benchmark and in reports on it.
        parts: Its text first, then the truth about it.
        more: Relevant documents beyond those shown.
    """

    id: str
    parts: tuple[Part, ...]
    more: int = 0


def example(benchmark: Benchmark, measure: Measure, id_: str) -> Example | None:
    """The example that a measure's score is of; None if the benchmark has none of this id."""
    if measure.name in (*RANKED, "map"):
        return _query(benchmark, id_)
    if measure.name in ("accuracy", "knn_accuracy"):
        return _labelled(benchmark, id_)
    if measure.name == "relevance_accuracy":
        return _pair(benchmark, id_)
    if measure.name == "triplet_accuracy":
        return _triplet(benchmark, id_)
    return _scored(benchmark, id_)


def _query(benchmark: Benchmark, id_: str) -> Example | None:
    task = benchmark.retrieval
    if task is None or id_ not in task.queries:
        return None
    # Texts of a label find each other: there the label says it, not some of its other texts.
    labelled = _labelled(benchmark, id_) if task.leave_one_out else None
    return labelled or _with_documents(task, id_, task.judgements.get(id_, {}))


def _with_documents(task: RetrievalTask, id_: str, grades: Mapping[str, int]) -> Example:
    relevant = sorted((each for each in grades if grades[each] > 0), key=lambda d: (-grades[d], d))
    shown = [Part("relevant", task.documents[each]) for each in relevant[:MOST_DOCUMENTS]]
    parts = (Part("query", task.queries[id_]), *shown)
    return Example(id_, parts, len(relevant) - len(shown))


def _labelled(benchmark: Benchmark, id_: str) -> Example | None:
    task = benchmark.classification
    if task is None or id_ not in task.texts:
        return None
    return Example(id_, (Part("text", task.texts[id_]), Part("label", task.labels[id_])))


def _pair(benchmark: Benchmark, id_: str) -> Example | None:
    task = benchmark.relevance
    if task is None or id_ not in task.pairs:
        return None
    query, document = task.pairs[id_]
    truth = "relevant" if task.relevant[id_] else "not relevant"
    return Example(id_, (Part("query", query), Part("document", document), Part("truth", truth)))


def _triplet(benchmark: Benchmark, id_: str) -> Example | None:
    task = benchmark.triplets
    if task is None or id_ not in task.triplets:
        return None
    names = ("anchor", "positive", "negative")
    parts = (Part(name, text) for name, text in zip(names, task.triplets[id_], strict=True))
    return Example(id_, tuple(parts))


def _scored(benchmark: Benchmark, id_: str) -> Example | None:
    task = benchmark.similarity
    if task is None or id_ not in task.pairs:
        return None
    first, second = task.pairs[id_]
    truth = f"{task.scores[id_]:g}"
    return Example(id_, (Part("first", first), Part("second", second), Part("score", truth)))
