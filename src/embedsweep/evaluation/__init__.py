"""(Embedder, Benchmark) to Report: ranking, classification, health and significance."""

from embedsweep.evaluation.dense import evaluate, measures_of
from embedsweep.evaluation.health import check_vectors
from embedsweep.evaluation.lexical import evaluate_lexical
from embedsweep.evaluation.significance import compare

__all__ = ["check_vectors", "compare", "evaluate", "evaluate_lexical", "measures_of"]
