"""Telling relevant from irrelevant: the examples, and the BM25 that picks the irrelevant ones."""

from __future__ import annotations

import math
import re
from collections import Counter

from embedsweep.core.dataset import RetrievalTask, Split
from embedsweep.data import retrieval as retrieval_module
from embedsweep.data.retrieval import relevance_task, retrieval_benchmark

DOCUMENTS = {
    "cat": "a cat sat on the mat with another cat",
    "dog": "a dog sat on the log",
    "cats": "the cat ran",
    "car": "a car has four wheels",
    "bus": "a bus has six wheels and a driver",
}


def task(queries: dict[str, str], judgements: dict[str, dict[str, int]], documents=DOCUMENTS):
    return RetrievalTask(queries, documents, judgements)


def bm25(query: str, document: str, documents: list[str]) -> float:
    """Lucene's BM25 by its formula, k1 = 1.5 and b = 0.75."""
    words = {text: Counter(re.findall(r"\w+", text)) for text in documents}
    mean = sum(counts.total() for counts in words.values()) / len(documents)
    score = 0.0
    for word in re.findall(r"\w+", query):
        holders = sum(word in counts for counts in words.values())
        idf = math.log(1 + (len(documents) - holders + 0.5) / (holders + 0.5))
        frequency = words[document][word]
        length = words[document].total() / mean
        score += idf * frequency / (frequency + 1.5 * (0.25 + 0.75 * length))
    return score


def test_the_irrelevant_are_those_bm25_ranks_highest():
    queries = {"q1": "a cat sat on the log", "q2": "wheels of a bus", "q3": "a dog on a mat"}
    judgements = {"q1": {"cat": 2, "dog": 0}, "q2": {"bus": 1}, "q3": {"dog": 1, "cat": 1}}
    relevance, query_of = relevance_task(Split.VALID, task(queries, judgements))
    found: dict[str, dict[bool, list[str]]] = {}
    for example, (_, document) in relevance.pairs.items():
        sides = found.setdefault(query_of[example], {True: [], False: []})
        sides[relevance.relevant[example]].append(document)
    for query, text in queries.items():
        relevant = [DOCUMENTS[d] for d, grade in judgements[query].items() if grade]
        assert found[query][True] == relevant
        others = [text for text in DOCUMENTS.values() if text not in relevant]
        others.sort(key=lambda other: -bm25(text, other, list(DOCUMENTS.values())))
        assert found[query][False] == others[: len(relevant)]
    assert found["q1"][False] == [DOCUMENTS["dog"]]  # judged 0 is not relevant
    assert len(set(relevance.pairs)) == 8
    assert all(example.startswith("valid-") for example in relevance.pairs)


def test_ties_are_spread_and_repeatable():
    documents = {f"d{n}": f"word{n}" for n in range(50)}
    queries = {f"q{n}": f"unknown{n}" for n in range(50)}
    judgements = {f"q{n}": {f"d{n}": 1} for n in range(50)}
    first, _ = relevance_task(Split.VALID, task(queries, judgements, documents))
    again, _ = relevance_task(Split.VALID, task(queries, judgements, documents))
    assert first == again
    irrelevant = {first.pairs[e][1] for e, relevant in first.relevant.items() if not relevant}
    assert len(irrelevant) > 20


def test_documents_without_words_do_no_harm():
    documents = {"a": "!!!", "b": "???", "c": "…"}
    relevance, _ = relevance_task(Split.TEST, task({"q": "???"}, {"q": {"b": 1}}, documents))
    assert Counter(relevance.relevant.values()) == {True: 1, False: 1}


def test_a_query_to_which_all_is_relevant_has_no_irrelevant_example():
    documents = {"a": "one", "b": "two"}
    whole = task({"q": "one"}, {"q": {"a": 1, "b": 1}}, documents)
    assert relevance_task(Split.VALID, whole) == (None, {})
    part = task({"q": "one", "p": "two"}, {"q": {"a": 1, "b": 1}, "p": {"b": 1}}, documents)
    relevance, _ = relevance_task(Split.VALID, part)
    assert Counter(relevance.relevant.values()) == {True: 3, False: 1}


def test_the_number_of_relevant_pairs_is_bounded(monkeypatch):
    queries = {f"q{n}": f"word{n} and" for n in range(40)}
    documents = {f"d{n}": f"word{n}" for n in range(40)}
    judgements = {f"q{n}": {f"d{n}": 1, f"d{(n + 1) % 40}": 1} for n in range(40)}
    monkeypatch.setattr(retrieval_module, "MAX_RELEVANT", 30)
    relevance, query_of = relevance_task(Split.VALID, task(queries, judgements, documents))
    assert Counter(relevance.relevant.values()) == {True: 30, False: 30}
    for example, (_, document) in relevance.pairs.items():
        judged = {documents[d] for d in judgements[query_of[example]]}
        assert (document in judged) is relevance.relevant[example]


def test_examples_are_grouped_by_query_or_by_its_group():
    whole = task({"q1": "cat", "q2": "bus"}, {"q1": {"cat": 1}, "q2": {"bus": 1}})
    plain = retrieval_benchmark("small", Split.VALID, whole, {}, {})
    assert plain.slices == {}
    assert set(plain.groups) == set(plain.relevance.pairs)
    assert Counter(plain.groups.values()) == {"q1": 2, "q2": 2}
    both = {"q1": "one", "q2": "one"}
    grouped = retrieval_benchmark("small", Split.VALID, whole, both, {"q1": "this", "q2": "that"})
    assert set(grouped.groups.values()) == {"one"}
    assert set(grouped.groups) == {*grouped.relevance.pairs, "q1", "q2"} == set(grouped.slices)
    assert Counter(grouped.slices.values()) == {"this": 3, "that": 3}
