"""The three file formats: what they are told by, and the tasks they give."""

from __future__ import annotations

import json
import pickle

import pytest

from embedsweep.core.dataset import Dataset, ScoredPair, Split
from embedsweep.core.errors import DataError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import labelled as labelled_format
from embedsweep.data import load_dataset
from embedsweep.data.scored import relevant_from
from tests.unit.data_writing import (
    HALVES,
    labelled,
    labelled_rows,
    misuse,
    only_fault,
    refusal,
    with_line,
    write_jsonl,
    write_lines,
)


def load(path, rows, **options) -> Dataset:
    options.setdefault("split", HALVES)
    return load_dataset(DataSpec("small", train=write_jsonl(path, rows), **options))


def three_files(folder, train, valid, test, **options) -> Dataset:
    paths = {
        name: write_jsonl(folder / f"{name}.jsonl", rows)
        for name, rows in (("train", train), ("valid", valid), ("test", test))
    }
    return load_dataset(DataSpec("small", **paths, **options))


PAIRS = [{"anchor": f"query {n}", "positive": f"document {n}"} for n in range(40)]
SCORED = [
    {"sentence1": f"first {n}", "sentence2": f"second {n}", "score": n % 11} for n in range(80)
]


@pytest.mark.parametrize(
    ("rows", "name"), [(labelled_rows(), "labelled"), (PAIRS, "pairs"), (SCORED, "scored")]
)
def test_the_format_is_told_from_the_rows(tmp_path, rows, name):
    dataset = load(tmp_path / "train.jsonl", rows)
    assert dataset.format == name
    assert sum(dataset.rows.values()) == len(rows)
    assert dataset.fingerprint == load(tmp_path / "again.jsonl", rows, format=name).fingerprint
    assert set(dataset.sources.values()) == {str(tmp_path / "train.jsonl")}
    assert dataset.digests[Split.TRAIN] == dataset.train.fingerprint


@pytest.mark.parametrize("rows", [labelled_rows(), PAIRS, SCORED])
def test_a_data_set_can_be_sent_to_another_process(tmp_path, rows):
    dataset = load(tmp_path / "train.jsonl", rows)
    sent = pickle.loads(pickle.dumps(dataset))
    assert sent.sealed_test().fingerprint == dataset.sealed_test().fingerprint


def test_a_row_of_no_format_names_all_of_them(tmp_path):
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", [{"says": "a", "is": "b"}] * 9))
    assert fault.line == 1
    for expected in ('"says", "is"', "text and label", "anchor and positive", "score"):
        assert expected in fault.why
    assert "'format: labelled' and 'columns: {text: says, label: is}'" in fault.fix


def test_a_row_of_two_formats_asks_for_the_format(tmp_path):
    rows = [{**row, **pair} for row, pair in zip(labelled_rows(), PAIRS, strict=True)]
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows))
    assert "labelled and pairs" in fault.why
    assert "format: labelled" in fault.fix
    assert load(tmp_path / "train.jsonl", rows, format="pairs").format == "pairs"


def test_mixed_shapes_are_faults_line_by_line(tmp_path):
    rows = [*labelled_rows(), *PAIRS[:3]]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    error = refusal(DataSpec("small", train=path, split=HALVES))
    assert {fault.lines for fault in error.faults} == {(41, 42, 43)}
    assert error.total == 6


def test_the_format_is_told_from_the_first_row_that_can_be_read(tmp_path):
    error = refusal(DataSpec("small", train=with_line(tmp_path, "{", 1), split=HALVES))
    assert error.total == 1
    rows = [{"text": "no label"}, *labelled_rows()]
    assert (
        only_fault(write_jsonl(tmp_path / "a.jsonl", rows)).what == "missing key 'metadata.label'"
    )


def test_columns_reach_inside(tmp_path):
    rows = [{"body": {"de": f"text {n}"}, "intent": n % 2} for n in range(40)]
    columns = {"text": "body.de", "label": "intent"}
    dataset = load(tmp_path / "train.jsonl", rows, columns=columns)
    plain = [labelled(f"text {n}", n % 2) for n in range(40)]
    assert dataset.fingerprint == load(tmp_path / "plain.jsonl", plain).fingerprint
    wrong = {**columns, "text": "body.en"}
    fault = only_fault(tmp_path / "train.jsonl", columns=wrong)
    assert 'none is "body.en"' in fault.why
    assert "'columns: {text: body.de}'" in fault.fix


def test_columns_of_csv(tmp_path):
    lines = ["utterance,the.intent", *(f"text {n},{n % 2}" for n in range(40))]
    path = write_lines(tmp_path / "train.csv", lines)
    columns = {"text": "utterance", "label": "the.intent"}
    dataset = load_dataset(DataSpec("small", train=path, split=HALVES, columns=columns))
    assert dataset.format == "labelled"
    assert dataset.train.texts[0].text.startswith("text ")


def test_labels_unknown_to_train_are_faults(tmp_path):
    valid = [labelled("one", "a"), labelled("two", "b"), labelled("three", "a")]
    with pytest.raises(DataError, match="it is in 2 rows of valid and in none of train") as caught:
        three_files(tmp_path, labelled_rows(4), valid, labelled_rows(4, mark="t"))
    assert [fault.line for fault in caught.value.faults] == [1, 2]


def test_labelled_tasks(tmp_path):
    train = [labelled("x", "a"), labelled("y", "b"), labelled("z", "b")]
    valid = [labelled("one", "a"), labelled("two", "b"), labelled("three", "a")]
    dataset = three_files(tmp_path, train, valid, [labelled("four", "b"), labelled("five", "b")])
    retrieval = dataset.valid.retrieval
    assert retrieval.documents == {"valid-0": "one", "valid-1": "two", "valid-2": "three"}
    assert retrieval.queries == {"valid-0": "one", "valid-2": "three"}
    assert retrieval.judgements == {"valid-0": {"valid-2": 1}, "valid-2": {"valid-0": 1}}
    assert retrieval.leave_one_out
    classification = dataset.valid.classification
    assert classification.fit_texts == ("x", "y", "z")
    assert classification.fit_labels == ("a", "b", "b")
    assert classification.labels == {"valid-0": "a", "valid-1": "b", "valid-2": "a"}
    test = dataset.sealed_test()
    assert test.split is Split.TEST
    assert test.classification.texts == {"test-0": "four", "test-1": "five"}
    assert dataset.rows == {Split.TRAIN: 3, Split.VALID: 3, Split.TEST: 2}


def test_labels_that_cannot_be_measured_are_refused(tmp_path):
    same = [labelled(f"text {n}") for n in range(9)]
    error = refusal(DataSpec("s", train=write_jsonl(tmp_path / "a.jsonl", same), split=HALVES))
    assert 'has the label "a", expected two or more' in error.faults[0].why
    train, single = labelled_rows(4), labelled_rows(2, mark="v")
    with pytest.raises(DataError, match="no label of valid has two texts"):
        three_files(tmp_path, train, single, labelled_rows(4, mark="t"))


def test_judgements_are_bounded_by_drawing_queries(tmp_path, monkeypatch):
    rows = labelled_rows(80)
    whole = load(tmp_path / "train.jsonl", rows).valid.retrieval
    every = sum(map(len, whole.judgements.values()))
    monkeypatch.setattr(labelled_format, "MAX_JUDGEMENTS", every // 2)
    part = load(tmp_path / "train.jsonl", rows).valid.retrieval
    assert sum(map(len, part.judgements.values())) <= every // 2
    assert 0 < len(part.queries) < len(whole.queries)
    assert part.documents == whole.documents
    assert all(part.judgements[query] == whole.judgements[query] for query in part.queries)


def test_pairs_give_retrieval_relevance_and_triplets(tmp_path):
    valid = [
        {"anchor": "Apple pie", "positive": "pie of apples", "negative": "a red car"},
        {"anchor": "apple  PIE!", "positive": "cake of apples", "negative": ["a car", "a bus"]},
        {"anchor": "pear", "positive": "pie of apples"},
    ]
    dataset = three_files(tmp_path, PAIRS[:3], valid, PAIRS[10:12])
    assert dataset.format == "pairs"
    retrieval = dataset.valid.retrieval
    assert retrieval.queries == {"valid-0": "Apple pie", "valid-1": "pear"}
    assert list(retrieval.documents.values()) == [
        "pie of apples",
        "a red car",
        "cake of apples",
        "a car",
        "a bus",
    ]
    assert retrieval.judgements == {
        "valid-0": {"valid-document-0": 1, "valid-document-2": 1},
        "valid-1": {"valid-document-0": 1},
    }
    assert list(dataset.valid.triplets.triplets.values()) == [
        ("Apple pie", "pie of apples", "a red car"),
        ("apple  PIE!", "cake of apples", "a car"),
        ("apple  PIE!", "cake of apples", "a bus"),
    ]
    relevance = dataset.valid.relevance
    assert sum(relevance.relevant.values()) == 3
    assert relevance.calibration is None
    test = dataset.sealed_test()
    assert test.relevance.calibration == relevance
    assert test.triplets is None


def test_pairs_keep_their_negatives_for_training(tmp_path):
    rows = [{**row, "negative": [f"no {n}", "never"]} for n, row in enumerate(PAIRS)]
    dataset = load(tmp_path / "train.jsonl", rows)
    assert all(len(pair.negatives) == 2 for pair in dataset.train.pairs)
    lines = ["anchor,positive,negative", *(f"q {n},d {n},{'no' * (n % 2)}" for n in range(40))]
    path = write_lines(tmp_path / "train.csv", lines)
    negatives = {
        p.negatives for p in load_dataset(DataSpec("s", train=path, split=HALVES)).train.pairs
    }
    assert negatives == {(), ("no",)}


@pytest.mark.parametrize("negative", [5, [5], ["a", ""], "", {"a": "b"}])
def test_a_bad_negative_is_a_fault(tmp_path, negative):
    rows = [*PAIRS, {"anchor": "a", "positive": "b", "negative": negative}]
    fault = only_fault(write_jsonl(tmp_path / "train.jsonl", rows))
    assert (fault.line, fault.what) == (41, "key 'negative'")


def test_one_document_cannot_be_searched(tmp_path):
    rows = [{"anchor": f"other {n}", "positive": "the same"} for n in range(4)]
    with pytest.raises(DataError, match="test has one document to find"):
        three_files(tmp_path, PAIRS[:5], PAIRS[10:15], rows)


@pytest.mark.parametrize("score", [True, None, "3.5", [1], float("inf"), 10**400])
def test_a_bad_score_is_a_fault(tmp_path, score):
    line = json.dumps({"sentence1": "a", "sentence2": "b", "score": score})
    line = line.replace("Infinity", "1e999")
    lines = [*(json.dumps(row) for row in SCORED), line]
    fault = only_fault(write_lines(tmp_path / "train.jsonl", lines))
    assert (fault.line, fault.what) == (81, "key 'score'")
    assert "expected a finite number" in fault.why


@pytest.mark.parametrize("score", ["", "high", "nan", "inf", "1,5"])
def test_a_bad_score_in_csv_is_a_fault(tmp_path, score):
    lines = ["sentence1,sentence2,score", *(f"a {n},b {n},{n}.5" for n in range(9))]
    path = write_lines(tmp_path / "train.csv", [*lines, f'a,b,"{score}"'])
    fault = only_fault(path)
    assert (fault.line, fault.what) == (11, "key 'score'")


def test_scored_pairs_give_similarity_retrieval_and_relevance(tmp_path):
    def scored(first: str, second: str, score: float) -> dict[str, object]:
        return {"sentence1": first, "sentence2": second, "score": score}

    valid = [
        scored("a cat", "a kitten", 5),
        scored("A CAT", "a tiger", 4.5),
        scored("a cat", "a car", 0.5),
        scored("a bus", "a car", 2),
        scored("a bus", "a kitten", 0),
    ]
    dataset = three_files(tmp_path, SCORED[:20], valid, SCORED[40:60])
    assert dataset.train.scored[0] == ScoredPair("first 0", "second 0", 0.0)
    assert list(dataset.valid.similarity.scores.values()) == [5, 4.5, 0.5, 2, 0]
    assert list(dataset.valid.relevance.relevant.values()) == [True, True, False, False, False]
    retrieval = dataset.valid.retrieval
    assert list(retrieval.queries.values()) == ["a cat"]
    assert list(retrieval.documents.values()) == ["a kitten", "a tiger", "a car"]
    assert retrieval.judgements == {"valid-0": {"valid-document-0": 1, "valid-document-1": 1}}
    assert dataset.sealed_test().relevance.calibration == dataset.valid.relevance


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [(range(1, 11), 8), ([0, 1, 1, 1], 1), ([0] * 9 + [1], 1), ([1, 2], 2), ([0, 0, 0, 3, 2], 2)],
)
def test_relevant_scores_are_the_highest_and_never_all(scores, threshold):
    assert relevant_from(list(scores)) == threshold


def test_equal_scores_are_refused(tmp_path):
    rows = [{**row, "score": 1} for row in SCORED]
    error = refusal(DataSpec("s", train=write_jsonl(tmp_path / "a.jsonl", rows), split=HALVES))
    assert error.total == 3
    assert "every row of train has the score 1" in error.faults[0].why


def test_few_shot_needs_labels(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", PAIRS)
    error = misuse(DataSpec("small", train=path, split=SplitRule(0.2, 0.2), few_shot=3))
    assert "no labels" in str(error)
