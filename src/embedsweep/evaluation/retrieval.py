"""Retrieval measures of any scorer: dense vectors and BM25 go through the same ranking."""

from __future__ import annotations

from statistics import fmean

from embedsweep.core.dataset import RetrievalTask
from embedsweep.core.ports import FloatArray
from embedsweep.core.report import Measure
from embedsweep.evaluation.measures import RANKED_MEASURES, Levels, scores
from embedsweep.evaluation.ranking import Judged, ScoreRows, rank
from embedsweep.evaluation.result import TaskResult

DEFAULT_MEASURES = tuple(
    Measure.parse(name)
    for name in (
        "ndcg@10",
        "mrr@10",
        "map",
        "recall@10",
        "recall@100",
        "precision@1",
        "precision@10",
    )
)


def retrieval_measures(objective: Measure | None) -> tuple[Measure, ...]:
    """The default measures, and the objective where it is a ranked one with another cut-off."""
    if objective is None or objective.name not in RANKED_MEASURES or objective in DEFAULT_MEASURES:
        return DEFAULT_MEASURES
    return (*DEFAULT_MEASURES, objective)


def cosine_rows(queries: FloatArray, documents: FloatArray) -> ScoreRows:
    """Cosine scores of unit rows, one matrix product per block."""

    def rows(start: int, stop: int) -> FloatArray:
        block: FloatArray = queries[start:stop] @ documents.T
        return block

    return rows


def retrieval_result(
    task: RetrievalTask | Judged, score_rows: ScoreRows, objective: Measure | None
) -> TaskResult:
    """Every retrieval measure per query, and the share of queries with a tie in the top ranks."""
    ranked = dict(rank(task, score_rows))
    levels = Levels.of(list(ranked.values()))
    return TaskResult(
        scores={
            measure: dict(zip(ranked, scores(measure, levels).tolist(), strict=True))
            for measure in retrieval_measures(objective)
        },
        facts={"tie_rate": fmean(float(each.tied) for each in ranked.values())},
    )
