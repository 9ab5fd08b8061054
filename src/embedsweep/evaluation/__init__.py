"""(Embedder, Benchmark) to Report: ranking, classification, health and significance."""

from embedsweep.evaluation.dense import Evaluator, evaluate, measures_of
from embedsweep.evaluation.examples import Example, example
from embedsweep.evaluation.health import check_vectors
from embedsweep.evaluation.latency import query_latency
from embedsweep.evaluation.lexical import evaluate_lexical
from embedsweep.evaluation.losses import Loss, metric_differences, significant_losses
from embedsweep.evaluation.pairwise import (
    Difference,
    UnitScores,
    mean_intervals,
    pairwise_differences,
    unit_scores,
)
from embedsweep.evaluation.selection import selection_optimism
from embedsweep.evaluation.significance import compare
from embedsweep.evaluation.slices import slice_changes

__all__ = [
    "Difference",
    "Evaluator",
    "Example",
    "Loss",
    "UnitScores",
    "check_vectors",
    "compare",
    "evaluate",
    "evaluate_lexical",
    "example",
    "mean_intervals",
    "measures_of",
    "metric_differences",
    "pairwise_differences",
    "query_latency",
    "selection_optimism",
    "significant_losses",
    "slice_changes",
    "unit_scores",
]
