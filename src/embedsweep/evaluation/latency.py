"""How long a model takes for one query."""

from __future__ import annotations

from math import ceil
from statistics import median
from time import perf_counter

from embedsweep.core.dataset import Benchmark
from embedsweep.core.ports import Embedder
from embedsweep.core.roles import TextRole

QUERIES = 30
WARM_UP = 3


def query_latency(embedder: Embedder, benchmark: Benchmark) -> float:
    """Median seconds to embed one query by itself, after a warm-up.

    Up to `QUERIES` distinct queries are drawn evenly over all.

    Args:
        embedder: The model, with no cache before it.
        benchmark: Where the queries are from; its texts where it has no queries.
    """
    queries = benchmark.retrieval.queries.values() if benchmark.retrieval else ()
    texts = list(dict.fromkeys(queries or benchmark.every_text()))
    drawn = texts[:: ceil(len(texts) / QUERIES)]
    for text in drawn[:WARM_UP]:
        embedder.embed([text], TextRole.QUERY)
    took = []
    for text in drawn:
        began = perf_counter()
        embedder.embed([text], TextRole.QUERY)
        took.append(perf_counter() - began)
    return median(took)
