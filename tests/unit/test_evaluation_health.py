"""Degenerate models are refused, sound ones pass."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from embedsweep.core.dataset import Benchmark, RetrievalTask, Split
from embedsweep.core.report import Measure
from embedsweep.core.trial import TrialFailure
from embedsweep.evaluation import check_vectors, evaluate
from embedsweep.evaluation.ranking import rank_row
from embedsweep.evaluation.retrieval import cosine_rows, retrieval_result
from tests.refusals import refusal

DIMENSION = 64
WORDS = ["invoice", "refund", "card", "transfer", "limit", "branch"]
WORDS += ["account", "payee", "currency", "fee", "rate", "top-up"]
TEXTS = [
    f"{first} or {second}, case {first[:3]}{n}" for first in WORDS for n, second in enumerate(WORDS)
]


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def bag_of_words(texts):
    counts = HashingVectorizer(n_features=2**14, norm=None, alternate_sign=False).transform(texts)
    directions = np.random.default_rng(5).standard_normal((2**14, DIMENSION))
    return unit(counts @ directions)


def constant(texts):
    return unit(np.ones((len(texts), DIMENSION)))


def constant_with_noise(texts):
    noise = np.random.default_rng(0).standard_normal((len(texts), DIMENSION))
    return unit(1 + 1e-3 * noise)


def zero(texts):
    return np.zeros((len(texts), DIMENSION), np.float32)


def not_a_number(texts):
    return np.full((len(texts), DIMENSION), np.nan, np.float32)


def one_infinity(texts):
    vectors = bag_of_words(texts)
    vectors[len(texts) // 2, 3] = np.inf
    return vectors


def one_zero(texts):
    vectors = bag_of_words(texts)
    vectors[len(texts) // 2] = 0
    return vectors


def one_hot_by_length(texts):
    return np.eye(DIMENSION, dtype=np.float32)[[len(text) % DIMENSION for text in texts]]


DEGENERATE = [
    (constant, "collapsed"),
    (constant_with_noise, "collapsed"),
    (zero, "zero_vectors"),
    (one_zero, "zero_vectors"),
    (not_a_number, "non_finite_vectors"),
    (one_infinity, "non_finite_vectors"),
    (one_hot_by_length, "indistinct"),
]


class FunctionEmbedder:
    dimension = DIMENSION

    def __init__(self, function):
        self.function = function

    def effective_role(self, role):
        return role

    def embed(self, texts, role="plain"):
        return self.function(texts)


def benchmark():
    documents = {f"d{number}": text for number, text in enumerate(TEXTS)}
    queries = {f"q{number}": f"{text}?" for number, text in enumerate(TEXTS[:40])}
    judgements = {f"q{number}": {f"d{number}": 1} for number in range(40)}
    return Benchmark("words", Split.VALID, RetrievalTask(queries, documents, judgements))


@pytest.mark.parametrize(("function", "kind"), DEGENERATE)
def test_a_degenerate_model_is_refused(function, kind):
    with pytest.raises(TrialFailure) as failure:
        check_vectors(function(TEXTS), TEXTS)
    assert failure.value.kind == kind


@pytest.mark.parametrize(("function", "kind"), DEGENERATE)
def test_no_measure_is_taken_of_a_degenerate_model(function, kind):
    with pytest.raises(TrialFailure) as failure:
        evaluate(FunctionEmbedder(function), benchmark())
    assert failure.value.kind == kind


def test_a_sound_model_passes_and_is_measured():
    check_vectors(bag_of_words(TEXTS), TEXTS)
    report = evaluate(FunctionEmbedder(bag_of_words), benchmark())
    assert report.means[Measure("mrr", 10)] > 0.9


def test_control_without_the_check_a_degenerate_model_gets_a_score():
    task = benchmark().retrieval
    vectors = one_hot_by_length(list(task.documents.values()))
    queries = one_hot_by_length(list(task.queries.values()))
    result = retrieval_result(task, cosine_rows(queries, vectors), None)
    assert all(np.isfinite(list(scores.values())).all() for scores in result.scores.values())


def test_control_without_the_check_not_a_number_gets_a_rank():
    ranked = rank_row(np.array([np.nan, 0.1, np.nan], np.float32), {0: 1})
    assert ranked.above.size == 1


def test_texts_that_a_tokenizer_cannot_tell_apart_may_share_a_vector():
    twins = [f"  {text.upper()} !" for text in TEXTS]
    accented = [text.replace("e", "é") for text in TEXTS]
    vectors = bag_of_words(TEXTS)
    shared = np.concatenate([vectors] * 3)
    assert refusal(check_vectors, shared, [*TEXTS, *twins, *accented]) is None


def test_control_texts_that_differ_may_not():
    others = [f"{text} more" for text in TEXTS]
    vectors = bag_of_words(TEXTS)
    with pytest.raises(TrialFailure) as failure:
        check_vectors(np.concatenate([vectors, vectors]), [*TEXTS, *others])
    assert failure.value.kind == "indistinct"
    assert "288 of 288" in failure.value.message


def many_texts(shared):
    """300 texts of which `shared` have the vector of the first one, but for rounding."""
    texts = [f"text number {number}" for number in range(300)]
    vectors = unit(np.random.default_rng(1).standard_normal((300, DIMENSION)))
    vectors[1:shared] = vectors[0] + 1e-7 * vectors[1:shared]
    return unit(vectors), texts


def test_up_to_one_percent_may_share_a_vector():
    assert refusal(check_vectors, *many_texts(shared=3)) is None


def test_more_than_one_percent_may_not_even_if_rounding_keeps_the_vectors_apart():
    vectors, texts = many_texts(shared=4)
    assert len(np.unique(vectors, axis=0)) > 300 - 3  # exact equality would not see them
    with pytest.raises(TrialFailure) as failure:
        check_vectors(vectors, texts)
    assert failure.value.kind == "indistinct"
    assert "4 of 300" in failure.value.message


def test_a_single_text_or_none_is_no_evidence_of_collapse():
    for texts in (["one"], ["one", "One."]):
        assert refusal(check_vectors, constant(texts), texts) is None
    assert refusal(check_vectors, zero([]), []) is None
    assert refusal(check_vectors, constant(["one", "two"]), ["one", "two"]), "the control"


def test_the_message_shows_a_long_text_in_part():
    with pytest.raises(TrialFailure) as failure:
        check_vectors(zero(["x" * 10_000]), ["x" * 10_000])
    assert len(failure.value.message) < 200


HEADER = " ".join(f"word{n}" for n in range(60))
WINDOW = 50
"""Words that `first_words` reads."""


def first_words(texts):
    return bag_of_words([" ".join(text.split()[:WINDOW]) for text in texts])


def read_words(texts):
    """The tokens of `first_words`: one per word."""
    return [tuple(map(hash, text.split()[:WINDOW])) for text in texts]


def behind_a_header(count, length):
    """Texts of which so many share a header of so many words."""
    header = " ".join(HEADER.split()[:length])
    return [f"{header} {text}" if n < count else text for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("count", [10, len(TEXTS)], ids=["some", "all"])
@pytest.mark.parametrize("length", [60, 45], ids=["truncated", "nearly truncated"])
def test_a_long_shared_header_is_no_fault_of_the_model(count, length):
    texts = behind_a_header(count, length)
    assert refusal(check_vectors, first_words(texts), texts, read_words) is None


@pytest.mark.parametrize("count", [10, len(TEXTS)], ids=["some", "all"])
def test_control_without_the_tokens_the_header_is_taken_for_a_fault(count):
    texts = behind_a_header(count, 60)
    assert refusal(check_vectors, first_words(texts), texts).kind in {"indistinct", "collapsed"}


@pytest.mark.parametrize(("function", "kind"), DEGENERATE)
@pytest.mark.parametrize("count", [0, 10, 100])
def test_control_a_degenerate_model_is_refused_although_texts_share_a_header(function, kind, count):
    texts = behind_a_header(count, 60)
    assert refusal(check_vectors, function(texts), texts, read_words).kind == kind


def test_tokens_are_read_only_if_texts_seem_the_same():
    asked = []
    check_vectors(bag_of_words(TEXTS), TEXTS, asked.append)
    assert asked == []


def test_a_model_whose_tokens_are_unknown_is_judged_by_the_texts():
    texts = behind_a_header(10, 60)
    found = refusal(check_vectors, first_words(texts), texts, lambda texts: None)
    assert found.kind == "indistinct"
