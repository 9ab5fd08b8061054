"""What epochs are measured on: small benchmarks whole, of large ones always the same part."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from embedsweep.core.dataset import (
    Benchmark,
    ClassificationTask,
    RelevanceTask,
    RetrievalTask,
    SimilarityTask,
    Split,
    TripletTask,
)
from embedsweep.core.errors import DataError
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation import compare
from embedsweep.evaluation.sample import (
    DOCUMENTS,
    DOCUMENTS_PER_QUERY,
    EXAMPLES,
    FIT_TEXTS,
    QUERIES,
    RELEVANT,
    for_epochs,
)

MOST = DOCUMENTS_PER_QUERY * QUERIES
"""Documents that so many queries leave."""


def search(queries, documents, relevant=2):
    ids = [f"d{number}" for number in range(documents)]
    return RetrievalTask(
        {f"q{number}": f"query {number}" for number in range(queries)},
        {each: f"document {each}" for each in ids},
        {
            f"q{number}": {
                ids[(number * relevant + step) % documents]: step for step in range(relevant + 1)
            }
            for number in range(queries)
        },
    )


def same_label(count, labels):
    texts = {f"t{row}": f"text {row}" for row in range(count)}
    members: dict[int, list[str]] = {}
    for row, each in enumerate(texts):
        members.setdefault(row % labels, []).append(each)
    judgements = {
        each: {other: 1 for other in members[row % labels] if other != each}
        for row, each in enumerate(texts)
    }
    return RetrievalTask(texts, texts, judgements, leave_one_out=True)


def classification(fit, count, labels):
    texts = {f"t{row}": f"text {row}" for row in range(count)}
    return ClassificationTask(
        tuple(f"fit {row}" for row in range(fit)),
        # The first label has half of the texts, the others share the rest.
        tuple("label 0" if row % 2 else f"label {row // 2 % labels}" for row in range(fit)),
        texts,
        {each: f"label {row % labels}" for row, each in enumerate(texts)},
    )


def relevance(queries):
    pairs, relevant = {}, {}
    for number in range(queries):
        for kind in (True, False):
            pairs[f"p{number}{kind}"] = (f"query {number}", f"document {number} {kind}")
            relevant[f"p{number}{kind}"] = kind
    return RelevanceTask(pairs, relevant)


def similarity(count):
    pairs = {f"s{row}": (f"left {row}", f"right {row}") for row in range(count)}
    return SimilarityTask(pairs, {each: float(len(each)) for each in pairs})


def triplets(count):
    return TripletTask({f"t{row}": (f"a{row}", f"p{row}", f"n{row}") for row in range(count)})


def benchmark(**tasks):
    return Benchmark("large", Split.VALID, **tasks)


LARGE = benchmark(
    retrieval=search(QUERIES + 500, MOST * 2, relevant=1),
    relevance=relevance(EXAMPLES),
    classification=classification(FIT_TEXTS * 2, EXAMPLES * 2, 50),
    triplets=triplets(EXAMPLES + 1),
    similarity=similarity(EXAMPLES + 1),
    groups={"q1": "g", **{f"q{number}": f"group {number % 7}" for number in range(QUERIES + 500)}},
    slices={f"t{row}": "even" for row in range(0, EXAMPLES * 2, 2)},
)


@pytest.mark.parametrize(
    "small",
    [
        benchmark(retrieval=search(QUERIES, MOST), relevance=relevance(EXAMPLES // 2)),
        benchmark(
            retrieval=same_label(QUERIES, 70), classification=classification(FIT_TEXTS, 1000, 9)
        ),
        benchmark(retrieval=search(5, DOCUMENTS)),
        benchmark(triplets=triplets(EXAMPLES), similarity=similarity(EXAMPLES)),
    ],
)
def test_a_small_one_is_itself(small):
    assert for_epochs(small) is small


def test_a_large_one_is_another_with_another_fingerprint():
    sampled = for_epochs(LARGE)
    assert sampled is not LARGE
    assert sampled.fingerprint != LARGE.fingerprint
    assert (sampled.name, sampled.split) == (LARGE.name, LARGE.split)
    assert for_epochs(sampled) is sampled


def test_the_draw_repeats_and_hangs_on_no_order():
    backwards = replace(
        LARGE,
        retrieval=replace(
            LARGE.retrieval,
            queries=dict(reversed(LARGE.retrieval.queries.items())),
            documents=dict(reversed(LARGE.retrieval.documents.items())),
        ),
    )
    ours, theirs = for_epochs(LARGE).retrieval, for_epochs(backwards).retrieval
    assert ours.queries == theirs.queries
    assert ours.documents == theirs.documents
    assert list(ours.queries) == [each for each in LARGE.retrieval.queries if each in ours.queries]
    # Not simply those that come first.
    assert list(ours.queries) != list(LARGE.retrieval.queries)[:QUERIES]


def test_every_judged_document_of_a_drawn_query_is_there():
    task = for_epochs(LARGE).retrieval
    assert (len(task.queries), len(task.documents)) == (QUERIES, MOST)
    assert task.judgements.keys() == task.queries.keys()
    for query, grades in task.judgements.items():
        assert grades == LARGE.retrieval.judgements[query]
        assert grades.keys() <= task.documents.keys()
    judged = {document for grades in task.judgements.values() for document in grades}
    assert len(judged) < len(task.documents)


def test_control_a_draw_of_documents_alone_would_lose_judged_ones():
    drawn = set(list(LARGE.retrieval.documents)[::2])
    lost = [
        query for query, grades in LARGE.retrieval.judgements.items() if not grades.keys() <= drawn
    ]
    assert lost


def test_more_judged_documents_than_the_bound_are_all_kept():
    task = for_epochs(benchmark(retrieval=search(QUERIES + 1, MOST * 4, relevant=7))).retrieval
    assert len(task.documents) > MOST
    assert all(grades.keys() <= task.documents.keys() for grades in task.judgements.values())


def confusing(queries, documents):
    """Each query is one word, which its judged document, a like one and its unlike one have."""
    texts = {f"d{number}": f"filler{number}" for number in range(documents)}
    for number in range(queries):
        texts[f"judged{number}"] = f"word{number} answered"
        texts[f"like{number}"] = f"word{number} unanswered"
    return RetrievalTask(
        {f"q{number}": f"word{number}" for number in range(queries)},
        texts,
        {f"q{number}": {f"judged{number}": 1} for number in range(queries)},
    )


def test_documents_that_words_alone_would_confuse_are_there_first():
    few, many = confusing(300, 5_000), confusing(QUERIES + 1, 5_000)
    for task in (few, many):
        drawn = for_epochs(benchmark(retrieval=task)).retrieval
        asked = {query.removeprefix("q") for query in drawn.queries}
        kinds = Counter(each.rstrip("0123456789") for each in drawn.documents)
        assert {f"like{number}" for number in asked} <= drawn.documents.keys()
        most = max(DOCUMENTS, DOCUMENTS_PER_QUERY * len(asked))
        assert (
            kinds
            == Counter({"judged": len(asked), "like": len(asked), "d": most - 2 * len(asked)})
            - Counter()
        )


def test_texts_that_a_query_is_to_find_are_none_that_it_is_confused_with():
    # By words alone, apples are most like apples, and all other texts like each other.
    labels = {f"t{row}": 0 if row % 2 else row % 100 for row in range(9_000)}
    texts = {text: "other" if label else "apple" for text, label in labels.items()}
    texts = {text: f"{word} {text}" for text, word in texts.items()}
    members: dict[int, list[str]] = {}
    for text, label in labels.items():
        members.setdefault(label, []).append(text)
    judgements = {
        text: {other: 1 for other in members[label] if other != text}
        for text, label in labels.items()
    }
    task = RetrievalTask(texts, texts, judgements, leave_one_out=True)
    drawn = for_epochs(benchmark(retrieval=task)).retrieval
    assert len(drawn.documents) == MOST
    apples = {text for text in drawn.documents if labels[text] == 0}
    assert len(apples - drawn.queries.keys()) <= RELEVANT


def test_texts_of_one_label_still_find_each_other():
    large = same_label(20_000, 100)
    task = for_epochs(benchmark(retrieval=large)).retrieval
    assert task.leave_one_out
    assert (len(task.queries), len(task.documents)) == (QUERIES, MOST)
    assert task.queries.keys() <= task.documents.keys()
    for query, grades in task.judgements.items():
        assert grades.keys() == large.judgements[query].keys() & task.documents.keys()
        assert len(grades.keys() - {query}) >= RELEVANT - 1


def test_many_labels_of_two_texts_keep_their_other_text():
    task = for_epochs(benchmark(retrieval=same_label(20_000, 10_000))).retrieval
    assert all(task.judgements[query] for query in task.queries)


def test_classes_keep_their_proportion_and_none_is_lost():
    task = for_epochs(LARGE).classification
    assert (len(task.fit_texts), len(task.texts)) == (FIT_TEXTS, EXAMPLES)
    assert task.texts.keys() == task.labels.keys()
    whole, part = Counter(LARGE.classification.fit_labels), Counter(task.fit_labels)
    assert part.keys() == whole.keys()
    assert all(abs(part[label] - whole[label] / 2) <= 2 for label in whole)
    label_of = dict(
        zip(LARGE.classification.fit_texts, LARGE.classification.fit_labels, strict=True)
    )
    assert all(
        label_of[text] == label for text, label in zip(task.fit_texts, task.fit_labels, strict=True)
    )


def test_a_class_of_one_text_stays_among_those_to_fit_on():
    rare = ClassificationTask(
        ("rare", *(f"fit {row}" for row in range(FIT_TEXTS * 3))),
        ("rare", *("common" for _ in range(FIT_TEXTS * 3))),
        {"e": "text"},
        {"e": "rare"},
    )
    assert "rare" in for_epochs(benchmark(classification=rare)).classification.fit_labels


def test_relevance_keeps_all_pairs_of_the_queries_that_retrieval_asks():
    sampled = for_epochs(LARGE)
    queries = Counter(query for query, _ in sampled.relevance.pairs.values())
    assert set(queries.values()) == {2}
    assert sum(queries.values()) == EXAMPLES
    assert sampled.relevance.pairs.keys() == sampled.relevance.relevant.keys()
    assert queries.keys() <= set(sampled.retrieval.queries.values())


def test_groups_and_slices_are_those_of_what_is_left():
    sampled = for_epochs(LARGE)
    assert sampled.groups == {
        each: group for each, group in LARGE.groups.items() if each in sampled.retrieval.queries
    }
    assert sampled.slices.keys() <= (
        sampled.classification.texts.keys() | sampled.triplets.triplets.keys()
    )
    assert len(sampled.similarity.pairs) == len(sampled.similarity.scores) == EXAMPLES


def test_reports_on_the_two_are_never_paired():
    measure = Measure("accuracy")
    whole, part = (
        Report(each.fingerprint, "valid", {measure: 0.5}, {measure: {"a": 0.0, "b": 1.0}})
        for each in (LARGE, for_epochs(LARGE))
    )
    assert compare(whole, whole, measure).gain == 0
    with pytest.raises(DataError, match="different benchmarks"):
        compare(whole, part, measure)
