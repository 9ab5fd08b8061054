"""How long a query takes: each by itself, drawn evenly, the first ones not counted."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from embedsweep.core.dataset import Benchmark, ClassificationTask, RetrievalTask, Split
from embedsweep.core.roles import TextRole
from embedsweep.evaluation import latency, query_latency


class Asked:
    """Remembers its calls; each takes as many seconds as `seconds` says, on a clock of its own."""

    dimension = 2

    def __init__(self, seconds=lambda call: 1.0):
        self.calls = []
        self.now = 0.0
        self.seconds = seconds
        self.number = count(1)

    def effective_role(self, role):
        return role

    def embed(self, texts, role=TextRole.PLAIN):
        self.calls.append((tuple(texts), role))
        self.now += self.seconds(next(self.number))
        return np.ones((len(texts), 2), np.float32)


def benchmark(queries):
    asked = {f"q{row}": f"query {row}" for row in range(queries)}
    return Benchmark("b", Split.TEST, RetrievalTask(asked, {"d": "a document"}, {}))


def timed(monkeypatch, embedder, of):
    monkeypatch.setattr(latency, "perf_counter", lambda: embedder.now)
    return query_latency(embedder, of)


@pytest.mark.parametrize("queries", [1, 2, 29, 30, 31, 59, 60, 61, 1000])
def test_queries_are_drawn_evenly_over_all(queries, monkeypatch):
    embedder = Asked()
    timed(monkeypatch, embedder, benchmark(queries))
    warm_up, drawn = np.split(
        [int(text.split()[1]) for (text,), _ in embedder.calls], [min(3, queries)]
    )
    assert warm_up.tolist() == drawn[:3].tolist()
    assert min(queries, latency.QUERIES / 2) <= len(drawn) <= latency.QUERIES
    assert len(set(np.diff(drawn))) <= 1
    # The last one drawn is as near to the end as the others are to each other.
    assert queries - drawn[-1] <= (drawn[1] - drawn[0] if queries > 1 else 1)


def test_each_is_a_query_by_itself(monkeypatch):
    embedder = Asked()
    timed(monkeypatch, embedder, benchmark(40))
    assert {(len(texts), role) for texts, role in embedder.calls} == {(1, TextRole.QUERY)}


def test_the_first_calls_do_not_count(monkeypatch):
    slow_at_first = Asked(lambda call: 100.0 if call <= latency.WARM_UP else 0.5)
    assert timed(monkeypatch, slow_at_first, benchmark(5)) == 0.5


def test_a_few_slow_ones_do_not_decide(monkeypatch):
    sometimes = Asked(lambda call: 9.0 if call % 5 == 0 else 0.5)
    assert timed(monkeypatch, sometimes, benchmark(30)) == 0.5


def test_equal_queries_are_asked_once(monkeypatch):
    """A model that remembers an answer would seem quick."""
    embedder = Asked()
    same = RetrievalTask({f"q{row}": "the same" for row in range(9)}, {"d": "text"}, {})
    timed(monkeypatch, embedder, Benchmark("b", Split.TEST, same))
    assert len(embedder.calls) == 2  # one to warm up, one to count


def test_without_queries_any_texts_serve(monkeypatch):
    task = ClassificationTask(("a", "b"), ("x", "y"), {"e": "c", "f": "a"}, {"e": "x", "f": "x"})
    embedder = Asked()
    benchmark = Benchmark("b", Split.TEST, classification=task)
    timed(monkeypatch, embedder, benchmark)
    assert {text for (text,), _ in embedder.calls} == set(benchmark.every_text())


def test_it_is_told_in_seconds_of_the_real_clock():
    assert 0.0 <= query_latency(Asked(), benchmark(3)) < 0.5
