"""Slices: where their names come from, whom they reach, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.core.dataset import Benchmark, Split
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import load_dataset, slices
from tests.unit.data_writing import HALVES, labelled, refusal, write_jsonl, write_lines

BY = "metadata.topic"
TOPICS = ("bank", "shop", "travel")


def texts(mark: str, count: int = 12, **more: object) -> list[dict[str, object]]:
    return [
        labelled(f"{mark} says {n}", f"label {n % 2}", topic=TOPICS[n % 3], **more)
        for n in range(count)
    ]


def pairs(mark: str, count: int = 12) -> list[dict[str, object]]:
    return [
        {
            "anchor": f"{mark} asks {n}",
            "positive": f"{mark} gets {n}",
            "negative": f"{mark} spurns {n}",
            "metadata": {"topic": TOPICS[n % 3]},
        }
        for n in range(count)
    ]


def scored(mark: str, count: int = 12) -> list[dict[str, object]]:
    return [
        {
            "sentence1": f"{mark} says {n}",
            "sentence2": f"{mark} hears {n}",
            "score": n % 11,
            "metadata": {"topic": TOPICS[n % 3]},
        }
        for n in range(count)
    ]


def without_topic(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [
        {**row, "metadata": {k: v for k, v in row.get("metadata", {}).items() if k != "topic"}}
        for row in rows
    ]


def spec(folder: Path, rows, **options) -> DataSpec:
    files = {name: write_jsonl(folder / f"{name}.jsonl", rows(name)) for name in map(str, Split)}
    return DataSpec("small", **files, **{"slice_by": BY, **options})


def beir(folder: Path, queries=None, **qrels: list[str]) -> Path:
    write_jsonl(folder / "corpus.jsonl", [{"_id": f"d{n}", "text": f"text {n}"} for n in range(24)])
    asked = [
        {"_id": f"q{n}", "text": f"asks {n}", "metadata": {"topic": TOPICS[n % 3]}}
        for n in range(24)
    ]
    write_jsonl(folder / "queries.jsonl", queries(asked) if queries else asked)
    lines = [f"q{n}\td{n}\t1" for n in range(24)]
    for name, part in {"train": lines[:12], "dev": lines[12:18], "test": lines[18:]}.items():
        header = "query-id\tcorpus-id\tscore"
        write_lines(folder / "qrels" / f"{name}.tsv", [header, *qrels.get(name, part)])
    return folder


def every_text(benchmark: Benchmark) -> dict[str, str]:
    """By id of every query and example, a text that tells its number."""
    found = dict(benchmark.retrieval.queries)
    if benchmark.classification is not None:
        found |= benchmark.classification.texts
    for task in (benchmark.relevance, benchmark.similarity):
        if task is not None:
            found |= {number: pair[0] for number, pair in task.pairs.items()}
    if benchmark.triplets is not None:
        found |= {number: triplet[0] for number, triplet in benchmark.triplets.triplets.items()}
    return found


def assert_named(benchmark: Benchmark) -> None:
    """Every query and example is of the topic of its number."""
    found = every_text(benchmark)
    assert set(benchmark.slices) == set(found)
    for number, text in found.items():
        assert benchmark.slices[number] == TOPICS[int(text.split()[-1]) % 3]


@pytest.mark.parametrize("rows", [texts, pairs, scored])
def test_every_query_and_example_has_its_rows_slice(tmp_path, rows):
    dataset = load_dataset(spec(tmp_path, rows))
    assert_named(dataset.valid)
    assert_named(dataset.sealed_test())


def test_queries_of_a_folder_have_slices(tmp_path):
    dataset = load_dataset(DataSpec("small", beir=beir(tmp_path), slice_by=BY))
    assert_named(dataset.valid)
    assert_named(dataset.sealed_test())
    assert load_dataset(DataSpec("small", beir=tmp_path)).valid.slices == {}


def test_slices_of_csv_and_of_a_file_that_is_split(tmp_path):
    lines = ["text,label,topic", *(f"says {n},{n % 2},{TOPICS[n % 3]}" for n in range(60))]
    path = write_lines(tmp_path / "all.csv", lines)
    plain = DataSpec("small", train=path, split=HALVES)
    dataset = load_dataset(replace(plain, slice_by="topic"))
    assert_named(dataset.valid)
    assert_named(dataset.sealed_test())
    assert dataset.digests == load_dataset(plain).digests


@pytest.mark.parametrize("rows", [texts, pairs, scored])
def test_slices_change_nothing_of_what_is_trained_or_measured_on(tmp_path, rows):
    sliced = load_dataset(spec(tmp_path, rows))
    plain = load_dataset(spec(tmp_path, rows, slice_by=None))
    assert sliced.train == plain.train
    assert sliced.digests == plain.digests
    assert sliced.fingerprint == plain.fingerprint
    assert sliced.test_sketch == plain.test_sketch
    assert sliced.valid.slices != plain.valid.slices
    assert sliced.valid.fingerprint == plain.valid.fingerprint
    assert replace(sliced.valid, slices={}) == replace(plain.valid, slices={})


def test_a_field_may_both_group_and_slice(tmp_path):
    rule = SplitRule(0.0, 0.0, group_by=BY)
    dataset = load_dataset(spec(tmp_path, texts, split=rule))
    assert dataset.valid.slices == dataset.valid.groups
    assert_named(dataset.valid)


def test_the_label_is_the_slice_where_none_is_named(tmp_path):
    dataset = load_dataset(spec(tmp_path, texts, slice_by=None))
    assert dataset.valid.slices == dataset.valid.classification.labels
    for rows in (pairs, scored):
        assert load_dataset(spec(tmp_path, rows, slice_by=None)).valid.slices == {}


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_row_without_the_field_is_a_fault_with_its_line(tmp_path, split):
    def rows(name: str) -> list[dict[str, object]]:
        made = texts(name)
        return [*made[:4], *without_topic(made[4:6]), *made[6:]] if name == split else made

    error = refusal(spec(tmp_path, rows))
    assert [(f.what, f.where, f.lines) for f in error.faults] == [
        (f"missing key {BY!r}", str(tmp_path / f"{split}.jsonl"), (5, 6))
    ]
    assert error.faults[0].fix == "add the key, or remove 'slice_by' from data"


def test_rows_that_are_only_trained_on_need_no_slice(tmp_path):
    def rows(name: str) -> list[dict[str, object]]:
        return without_topic(texts(name)) if name == "train" else texts(name)

    small = spec(tmp_path, rows)
    assert_named(load_dataset(small).valid)
    # The control: a part of them is measured on.
    error = refusal(replace(small, valid=None, split=SplitRule(0.3, 0.0)))
    assert error.total == 12


def test_a_query_without_the_field_is_a_fault_where_it_is_measured_on(tmp_path):
    def some(queries):
        return [*queries[:2], *without_topic(queries[2:3]), *queries[3:]]

    path = beir(tmp_path / "trained", some)
    assert_named(load_dataset(DataSpec("small", beir=path, slice_by=BY)).valid)
    measured = beir(tmp_path / "measured", some, test=["q2\td2\t1", "q20\td0\t1"])
    (fault,) = refusal(DataSpec("small", beir=measured, slice_by=BY)).faults
    assert (fault.what, fault.line) == (f"missing key {BY!r}", 3)
    assert fault.where == str(measured / "queries.jsonl")


@pytest.mark.parametrize("value", [None, 1.5, "  ", ["bank"]])
def test_a_slice_is_a_name(tmp_path, value):
    rows = texts("valid")
    rows[3]["metadata"]["topic"] = value
    (fault,) = refusal(spec(tmp_path, lambda name: rows if name == "valid" else texts(name))).faults
    assert (fault.what, fault.line) == (f"key {BY!r}", 4)


def test_numbers_and_blanks_around_names_are_read_as_groups_are(tmp_path):
    rows = texts("valid")
    for place, row in enumerate(rows):
        row["metadata"]["topic"] = 7 if place % 2 else " left "
    dataset = load_dataset(spec(tmp_path, lambda name: rows if name == "valid" else texts(name)))
    assert set(dataset.valid.slices.values()) == {"7", "left"}


def test_slices_of_too_few_rows_are_refused_where_they_were_asked_for(tmp_path):
    def rows(name: str) -> list[dict[str, object]]:
        return [labelled(f"{name} {n}", n % 2, user=f"user {n}") for n in range(12)]

    error = refusal(spec(tmp_path, rows, slice_by="metadata.user"))
    assert [(f.what, f.where) for f in error.faults] == [
        ('slice_by "metadata.user"', str(tmp_path / f"{split}.jsonl"))
        for split in ("valid", "test")
    ]
    assert "12 slices in 12 rows of valid, expected 1000 at most, of 2" in error.faults[0].why


def test_too_many_slices_are_refused_or_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "MOST_SLICES", 2)
    assert "3 slices in 12 rows" in refusal(spec(tmp_path, texts)).faults[0].why
    labels = load_dataset(spec(tmp_path, texts, slice_by=None))
    assert len(set(labels.valid.slices.values())) == 2
    monkeypatch.setattr(slices, "MOST_SLICES", 1)
    labels = load_dataset(spec(tmp_path, texts, slice_by=None))
    assert labels.valid.slices == labels.sealed_test().slices == {}


def test_a_cut_valid_split_leaves_the_slices_of_test(tmp_path):
    many = [labelled(f"row {n}", f"label {n % 20}") for n in range(400)]
    path = write_jsonl(tmp_path / "all.jsonl", many)
    small = DataSpec("small", train=path, split=HALVES, max_valid=25)
    dataset = load_dataset(small)
    assert dataset.valid.slices == {}
    assert set(dataset.sealed_test().slices.values()) == {f"label {n}" for n in range(20)}
