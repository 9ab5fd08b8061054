"""Evaluation of squad-mini's test split: ours against sentence-transformers' own evaluator.

The same model in memory on both sides, the same queries, documents and judgements; ours as a sweep
measures. The measures that both have are equal up to what bfloat16 vectors and ties change.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.backends.local.opening import open_model
from embedsweep.core.dataset import Benchmark, RetrievalTask
from embedsweep.core.report import Measure
from embedsweep.evaluation import evaluate
from tests.benchmarks.clocks import BENCHMARK, ratios, seconds
from tests.benchmarks.opponent import NAME, retrieval_evaluator
from tests.benchmarks.results import Results, rounding_limit
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import SQUAD_MINI, opened

pytestmark = BENCHMARK

EQUAL = {"ndcg@10": "ndcg@10", "mrr@10": "mrr@10", "recall@10": "recall@10"}
"""Our name and theirs of the measures both have."""

FEW = 20
"""Queries of the warm-up."""


def test_evaluation_of_a_test_split(
    data: Path, base_model: str, results: Results, tmp_path: Path
) -> None:
    _, dataset = opened(SQUAD_MINI, tmp_path)
    # Their evaluator answers this question alone.
    benchmark = replace(dataset.sealed_test(), relevance=None)
    task = benchmark.retrieval
    assert task is not None
    folder = base_folder(base_model)
    embedder, model = LocalBackend("cpu", measuring=True).open(folder), open_model(folder, "cpu")
    few = _cut(task)
    evaluate(embedder, replace(benchmark, retrieval=few))
    retrieval_evaluator(few)(model)

    took: dict[str, list[float]] = {"theirs": [], "ours": []}
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for number in range(SIZES.rounds):
        turns = {
            "theirs": lambda: theirs.update(retrieval_evaluator(task)(model)),
            "ours": lambda: ours.update(_measures(embedder, benchmark)),
        }
        for side in sorted(turns, reverse=number % 2 == 1):
            took[side].append(seconds(turns[side]))

    detail = {"queries": len(task.queries), "documents": len(task.documents)}
    for side, values in took.items():
        results.record(f"evaluation/squad-mini/{side}", "s", values, **detail)
    times = ratios(took["theirs"], took["ours"])
    results.record("evaluation/squad-mini/ratio", "times", times, **detail)
    for own, name in EQUAL.items():
        value, other = ours[own], theirs[f"{NAME}_cosine_{name}"]
        difference = abs(value - other)
        results.record(
            f"evaluation/squad-mini/difference/{own}", own, [difference], ours=value, theirs=other
        )
        assert difference <= rounding_limit(len(task.queries))


def _measures(embedder: object, benchmark: Benchmark) -> dict[str, float]:
    report = evaluate(embedder, benchmark, Measure.parse("ndcg@10"))
    return {str(measure): value for measure, value in report.means.items()}


def _cut(task: RetrievalTask) -> RetrievalTask:
    """A few of the queries, and the documents they are to find."""
    queries = dict(list(task.queries.items())[:FEW])
    judgements = {query: task.judgements[query] for query in queries}
    wanted = {document for grades in judgements.values() for document in grades}
    documents = {name: text for name, text in task.documents.items() if name in wanted}
    return RetrievalTask(queries, documents, judgements)
