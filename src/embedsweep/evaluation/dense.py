"""The report of an embedding model on a benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from embedsweep.core.dataset import Benchmark, RelevanceTask, RetrievalTask
from embedsweep.core.ports import Embedder
from embedsweep.core.report import Measure, Report
from embedsweep.core.roles import TextRole
from embedsweep.evaluation.classification import (
    CLASSIFICATION_MEASURES,
    can_classify,
    classification_result,
)
from embedsweep.evaluation.ranking import Float64Array, Judged
from embedsweep.evaluation.relevance import (
    RELEVANCE_MEASURES,
    can_tell_relevance,
    relevance_result,
)
from embedsweep.evaluation.result import TaskResult, report_of
from embedsweep.evaluation.retrieval import cosine_rows, retrieval_measures, retrieval_result
from embedsweep.evaluation.similarity import (
    SPEARMAN,
    TRIPLET_ACCURACY,
    similarity_result,
    triplet_result,
)
from embedsweep.evaluation.vectors import DistinctTexts, TextVectors


def measures_of(benchmark: Benchmark, objective: Measure | None = None) -> tuple[Measure, ...]:
    """What `evaluate` will measure; no text is embedded to tell."""
    measurable = _measurable(benchmark)
    measures: list[Measure] = []
    if measurable.retrieval is not None:
        measures += retrieval_measures(objective)
    if measurable.classification is not None:
        measures += CLASSIFICATION_MEASURES
    if measurable.relevance is not None:
        measures += RELEVANCE_MEASURES
    if measurable.triplets is not None:
        measures.append(TRIPLET_ACCURACY)
    if measurable.similarity is not None:
        measures.append(SPEARMAN)
    return tuple(measures)


def evaluate(embedder: Embedder, benchmark: Benchmark, objective: Measure | None = None) -> Report:
    """Measure a model by every task the benchmark has, once; see `Evaluator`."""
    return Evaluator(benchmark, objective).report(embedder)


class Evaluator:
    """Measures models on one benchmark. What hangs on the benchmark alone is worked out once.

    Each distinct text is embedded once in every role it has. Retrieval and relevance embed
    queries and documents by their roles. Classification, similarity, triplets and retrieval that
    leaves the query out of its documents embed plain texts, and so share their vectors. A model is
    asked for the texts of a role in one call, and every time with the same tuple.

    Args:
        benchmark: Its tasks decide the measures; a task with nothing to measure, such as
            classification with one class, is left out.
        objective: Measured too when it is a ranked measure at a cut-off of its own.
    """

    def __init__(self, benchmark: Benchmark, objective: Measure | None = None) -> None:
        self._benchmark = benchmark
        self._objective = objective
        self._measurable = _measurable(benchmark)
        self._texts: dict[tuple[TextRole, ...], DistinctTexts] = {}

    def report(self, embedder: Embedder) -> Report:
        """What the model scores.

        Raises:
            TrialFailure: The vectors are worth no measuring; see `check_vectors`.
        """
        texts = self._distinct_texts(embedder)
        vectors = TextVectors(embedder, texts)
        facts = {
            "dimension": float(embedder.dimension),
            "texts": float(len(texts)),
            "embed_seconds": vectors.seconds,
        }
        return report_of(self._benchmark, list(self._results(vectors)), facts)

    def _distinct_texts(self, embedder: Embedder) -> DistinctTexts:
        effective = {role: embedder.effective_role(role) for role in TextRole}
        key = tuple(effective.values())
        if key not in self._texts:
            self._texts[key] = DistinctTexts(_texts_by_role(self._measurable), effective)
        return self._texts[key]

    @cached_property
    def _judged(self) -> Judged | None:
        task = self._measurable.retrieval
        return None if task is None else Judged.of(task)

    def _results(self, vectors: TextVectors) -> Iterator[TaskResult]:
        benchmark = self._measurable
        if (retrieval := benchmark.retrieval) is not None:
            query_role, document_role = _roles(retrieval)
            queries = vectors.of(query_role, retrieval.queries.values())
            documents = vectors.of(document_role, retrieval.documents.values())
            rows = cosine_rows(queries, documents)
            yield retrieval_result(self._judged or retrieval, rows, self._objective)
        if (classification := benchmark.classification) is not None:
            fit_vectors = vectors.of(TextRole.PLAIN, classification.fit_texts)
            texts = vectors.of(TextRole.PLAIN, classification.texts.values())
            yield classification_result(classification, fit_vectors, texts)
        if (relevance := benchmark.relevance) is not None:

            def cosines(task: RelevanceTask) -> Float64Array:
                return vectors.cosines(task.pairs.values(), TextRole.QUERY, TextRole.DOCUMENT)

            yield relevance_result(relevance, cosines)
        if (triplets := benchmark.triplets) is not None:
            every = triplets.triplets.values()
            to_positive = vectors.cosines((anchor, positive) for anchor, positive, _ in every)
            to_negative = vectors.cosines((anchor, negative) for anchor, _, negative in every)
            yield triplet_result(triplets, to_positive, to_negative)
        if (similarity := benchmark.similarity) is not None:
            yield similarity_result(similarity, vectors.cosines(similarity.pairs.values()))


def _measurable(benchmark: Benchmark) -> Benchmark:
    """The benchmark without the tasks that have nothing to measure."""
    retrieval, classification = benchmark.retrieval, benchmark.classification
    relevance, triplets = benchmark.relevance, benchmark.triplets
    similarity = benchmark.similarity
    return replace(
        benchmark,
        retrieval=retrieval if retrieval and retrieval.queries else None,
        classification=classification if classification and can_classify(classification) else None,
        relevance=relevance if relevance and can_tell_relevance(relevance) else None,
        triplets=triplets if triplets and triplets.triplets else None,
        similarity=similarity if similarity and similarity.pairs else None,
    )


def _roles(task: RetrievalTask) -> tuple[TextRole, TextRole]:
    """The roles of queries and documents; where one text is both there is no asking side."""
    if task.leave_one_out:
        return TextRole.PLAIN, TextRole.PLAIN
    return TextRole.QUERY, TextRole.DOCUMENT


def _texts_by_role(benchmark: Benchmark) -> dict[TextRole, list[str]]:
    texts: dict[TextRole, list[str]] = {role: [] for role in TextRole}
    if (retrieval := benchmark.retrieval) is not None:
        query_role, document_role = _roles(retrieval)
        texts[query_role] += retrieval.queries.values()
        texts[document_role] += retrieval.documents.values()
    for task in (benchmark.relevance, benchmark.relevance and benchmark.relevance.calibration):
        if task is not None:
            for query, document in task.pairs.values():
                texts[TextRole.QUERY].append(query)
                texts[TextRole.DOCUMENT].append(document)
    plain = texts[TextRole.PLAIN]
    if (classification := benchmark.classification) is not None:
        plain += (*classification.fit_texts, *classification.texts.values())
    if benchmark.triplets is not None:
        plain += (text for triplet in benchmark.triplets.triplets.values() for text in triplet)
    if benchmark.similarity is not None:
        plain += (text for pair in benchmark.similarity.pairs.values() for text in pair)
    return texts
