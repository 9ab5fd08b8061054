"""What the splits share: the findings, their places, their counts, and what is said of them."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from embedsweep.backends.rows import Rows
from embedsweep.core.dataset import Dataset, Pair, TrainingSet
from embedsweep.core.experiment import DataSpec, OnOverlap, SplitRule
from embedsweep.core.leakage import SHOWN_CHARACTERS, Leakage, LeakKind
from embedsweep.core.recipe import DataForm
from embedsweep.data import load_dataset
from tests.unit.data_writing import labelled, labelled_rows, write_jsonl, write_lines

DROP = OnOverlap.DROP_FROM_TRAIN


def loaded(folder, train, valid, test, **options) -> Dataset:
    parts = {"train": train, "valid": valid, "test": test}
    files = {name: write_jsonl(folder / f"{name}.jsonl", rows) for name, rows in parts.items()}
    return load_dataset(DataSpec("small", **files, **options))


def pairs(mark: str, count: int = 6) -> list[dict[str, object]]:
    letters = "abcdefghij"
    return [
        {"anchor": f"{mark * 9} {letters[n] * 9}", "positive": f"{mark} gets {letters[n] * 12}"}
        for n in range(count)
    ]


def of_kind(leakage: Leakage, kind: LeakKind) -> list[tuple[object, ...]]:
    """(splits, lines, texts) of each finding of the kind."""
    return [
        (
            f"{each.here.split}/{each.there.split}",
            (each.here.line, each.there.line),
            (each.here.text, each.there.text),
        )
        for each in leakage.findings
        if each.kind is kind
    ]


def tallies(leakage: Leakage, kind: LeakKind) -> dict[str, tuple[int, int]]:
    return {
        f"{tally.split}/{tally.other}": (tally.found, tally.of)
        for tally in leakage.tallies
        if tally.kind is kind
    }


def test_near_duplicates_name_both_rows(tmp_path):
    asked = "how do I change the address of my account"
    train = [*labelled_rows(10), labelled(f"{asked} today", "label 0")]
    valid = [*labelled_rows(6, mark="valid"), labelled(f"Please: {asked}?", "label 0")]
    test = [
        *labelled_rows(6, mark="test"),
        labelled(asked.upper(), "label 1"),
        labelled(asked, "label 0"),
    ]
    leakage = loaded(tmp_path, train, valid, test).leakage
    found = [each for each in of_kind(leakage, LeakKind.NEAR_DUPLICATE) if each[1][0] > 6]
    assert found == [
        ("test/train", (7, 11), (asked.upper(), f"{asked} today")),
        ("test/valid", (7, 7), (asked.upper(), f"Please: {asked}?")),
        ("valid/train", (7, 11), (f"Please: {asked}?", f"{asked} today")),
    ]
    finding = next(each for each in leakage.findings if each.here.line == 7)
    assert finding.there.file == str(tmp_path / "train.jsonl")
    assert finding.similarity == pytest.approx(0.875, abs=0.1)
    # Two rows of test have the text.
    assert tallies(leakage, LeakKind.NEAR_DUPLICATE)["test/train"][0] >= 2


def test_groups_in_two_splits_are_named(tmp_path):
    parts = [
        [labelled(f"{name * 5} {n}", n % 2, document=n // 2) for n in range(size)]
        for name, size in (("train", 12), ("valid", 6), ("test", 8))
    ]
    rule = SplitRule(0.0, 0.0, group_by="metadata.document")
    leakage = loaded(tmp_path, *parts, split=rule).leakage
    shared = [each for each in leakage.findings if each.kind is LeakKind.SHARED_GROUP]
    assert [each.group for each in shared if each.there.split == "train"] == [
        *("0", "1", "2", "3"),
        *("0", "1", "2"),
    ]
    assert (shared[1].here.line, shared[1].there.line, shared[1].similarity) == (3, 3, None)
    assert tallies(leakage, LeakKind.SHARED_GROUP)["test/train"] == (4, 4)


def test_documents_and_roles_of_pairs(tmp_path):
    train, valid, test = pairs("a"), pairs("b"), pairs("c")
    train.append({"anchor": "the only question", "positive": "The common answer."})
    train.append({"anchor": "an answer by now", "positive": "a question by now"})
    test.append({"anchor": "a wholly new question", "positive": "the COMMON answer"})
    test.append({"anchor": "A question, by now?", "positive": "An answer, by now!"})
    leakage = loaded(tmp_path, train, valid, test).leakage
    assert of_kind(leakage, LeakKind.SHARED_DOCUMENT) == [
        ("test/train", (7, 7), ("the COMMON answer", "The common answer."))
    ]
    assert tallies(leakage, LeakKind.SHARED_DOCUMENT)["test/train"] == (1, 8)
    assert of_kind(leakage, LeakKind.OTHER_ROLE) == [
        ("test/train", (8, 8), ("A question, by now?", "a question by now")),
        ("test/train", (8, 8), ("An answer, by now!", "an answer by now")),
    ]
    assert tallies(leakage, LeakKind.OTHER_ROLE)["test/train"] == (2, 16)
    notes = list(leakage.notes())
    assert notes[0].startswith("2 of 16 texts of test are in train in the other role")
    assert notes[1].startswith("1 of 8 relevant texts of test are relevant in train too")
    assert "no leak" in notes[1]


def test_documents_of_a_corpus(tmp_path):
    documents = [{"_id": f"d{n}", "text": f"{c * 9} {n}"} for n, c in enumerate("abcdef")]
    queries = [{"_id": f"q{n}", "text": f"{c * 9} asks"} for n, c in enumerate("uvwxyz")]
    write_jsonl(tmp_path / "corpus.jsonl", documents)
    write_jsonl(tmp_path / "queries.jsonl", queries)
    for name, lines in {
        "train": ["q0\td0\t1", "q0\td1\t2", "q1\td2\t1", "q1\td5\t0"],
        "dev": ["q2\td3\t1", "q3\td4\t1"],
        "test": ["q4\td0\t1", "q5\td1\t0", "q5\td5\t1"],
    }.items():
        header = "query-id\tcorpus-id\tscore"
        write_lines(tmp_path / "qrels" / f"{name}.tsv", [header, *lines])
    leakage = load_dataset(DataSpec("small", beir=tmp_path)).leakage
    # Not d1 nor d5, which are judged and irrelevant on one side.
    assert of_kind(leakage, LeakKind.SHARED_DOCUMENT) == [
        ("test/train", (2, 2), ("aaaaaaaaa 0", "aaaaaaaaa 0"))
    ]
    assert tallies(leakage, LeakKind.SHARED_PAIR) == {"train/train": (2, 3)}


def test_sentences_of_scored_pairs_have_no_role(tmp_path):
    def scored(mark: str) -> list[dict[str, object]]:
        rows = [(f"{mark * 9} {c * 9}", f"{c * 9} {mark * 9}") for c in "klmnop"]
        return [{"sentence1": a, "sentence2": b, "score": n} for n, (a, b) in enumerate(rows)]

    test = [*scored("c"), {"sentence1": "new", "sentence2": "aaaaaaaaa, kkkkkkkkk", "score": 1}]
    leakage = loaded(tmp_path, scored("a"), scored("b"), test).leakage
    assert of_kind(leakage, LeakKind.SHARED_DOCUMENT) == [
        ("test/train", (7, 1), ("aaaaaaaaa, kkkkkkkkk", "aaaaaaaaa kkkkkkkkk"))
    ]
    assert tallies(leakage, LeakKind.OTHER_ROLE) == {}


def test_pairs_that_share_a_side_are_counted_and_no_negatives_of_each_other(tmp_path):
    train = [
        *pairs("a", 4),
        {"anchor": "one question", "positive": "first answer"},
        {"anchor": "One  question", "positive": "second answer"},
        {"anchor": "another question", "positive": "Second answer"},
    ]
    dataset = loaded(tmp_path, train, pairs("b"), pairs("c"))
    assert tallies(dataset.leakage, LeakKind.SHARED_PAIR) == {"train/train": (3, 7)}
    assert "3 of 7 training pairs" in next(iter(dataset.leakage.notes()))
    (batch,) = Rows(dataset.train, DataForm.PAIRS, 7, seed=1).epoch(0)
    places = {text: place for place, text in enumerate(batch.columns[0])}
    expected = np.zeros((7, 7), dtype=bool)
    for one, other in (
        ("one question", "One  question"),
        ("One  question", "another question"),
    ):
        expected[places[one], places[other]] = expected[places[other], places[one]] = True
    # What one question is answered by in a third pair is an answer to it too.
    expected[places["one question"], places["another question"]] = True
    assert (batch.blocked == expected).all()
    # The control: pairs that share nothing are all negatives of each other.
    lone = TrainingSet(pairs=tuple(Pair(f"q{n}", f"a{n}") for n in range(4)))
    (batch,) = Rows(lone, DataForm.PAIRS, 4, seed=1).epoch(0)
    assert not batch.blocked.any()


def test_clean_data_has_no_findings(tmp_path):
    leakage = loaded(tmp_path, pairs("a"), pairs("b"), pairs("c")).leakage
    assert leakage.findings == ()
    assert list(leakage.notes()) == []
    assert all(tally.found == 0 < tally.of for tally in leakage.tallies)


def test_looking_waits_until_it_is_asked_for(tmp_path):
    dataset = loaded(tmp_path, pairs("a"), pairs("b"), pairs("c"))
    assert "leakage" not in vars(dataset)
    assert dataset.leakage is dataset.leakage


def test_findings_as_csv_and_as_json(tmp_path):
    long = 'a text, "quoted", of many words ' * 40
    test = [*labelled_rows(6, mark="test"), labelled(long, "label 0")]
    train = [*labelled_rows(10), labelled(f"{long} more", "label 1"), labelled(long, "label 0")]
    leakage = loaded(tmp_path, train, labelled_rows(6, mark="v"), test, on_overlap=DROP).leakage
    rows = list(csv.DictReader(io.StringIO(leakage.as_csv())))
    document = json.loads(leakage.as_json())
    assert len(rows) == len(document["findings"]) == len(leakage.findings)
    assert [{key: str(value) for key, value in row.items()} for row in document["findings"]] == rows
    assert rows[0]["kind"] == "overlap"
    assert rows[0]["text"] == long[:SHOWN_CHARACTERS] + "…"
    near = next(row for row in rows if row["kind"] == "near_duplicate" and row["line"] == "7")
    assert float(near["similarity"]) > 0.8
    assert (near["split"], near["other_split"], near["other_line"]) == ("test", "train", "11")
    assert {"kind": "overlap", "split": "test", "other": "train", "found": 1, "of": 7} in document[
        "counts"
    ]
    assert len(leakage.as_dict(1)["findings"]) == 1
