"""Malformed records, and fields that are missing or of the wrong type."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset
from tests.unit.data_writing import (
    HALVES,
    labelled,
    labelled_rows,
    only_fault,
    refusal,
    with_line,
    write_jsonl,
    write_lines,
)

GOOD = json.dumps(labelled("one more row"))


@pytest.mark.parametrize(
    ("line", "why", "fix"),
    [
        (
            GOOD + GOOD,
            f"two values on the line, the second from column {len(GOOD) + 1}",
            "one JSON",
        ),
        (GOOD + ", 5", "two values on the line", "one JSON object"),
        (GOOD.replace(":", " ", 1), "delimiter at column 10, found '\"one", "correct"),
        (GOOD.replace('"', "'"), "at column 2, found", "correct the JSON"),
        (GOOD[:20], "breaks off", "rest of the line"),
        (GOOD[:-1], "breaks off", "rest of the line"),
        ("[1, 2]", "found a list of 2, expected an object", "one JSON object"),
        ("null", "found null, expected an object", "one JSON object"),
        (
            '{"text": "a", "text": "b", "metadata": {"label": "a"}}',
            'key "text" is given twice',
            "p",
        ),
        ('{"text": "a", "metadata": {"label": "a", "label": "b"}}', '"label" is given twice', "p"),
        ('{"text": "a", "metadata": {"label": NaN}}', "NaN is no JSON number", "plain object"),
        ('{"text": "a", "more": -Infinity, "metadata": {}}', "-Infinity is no", "plain object"),
        ("[" * 100_000, "nested too deep", "plain object"),
        ('{"text": "a", "metadata": {"label": ' + "9" * 5000 + "}}", "4300 digits", "plain object"),
    ],
)
def test_bad_json_is_reported_by_line_and_column(tmp_path, line, why, fix):
    fault = only_fault(with_line(tmp_path, line))
    assert fault.line == 17
    assert why in fault.why
    assert fix in fault.fix


def test_a_truncated_last_line_is_reported(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", labelled_rows())
    path.write_text(path.read_text() + GOOD[:-9])
    fault = only_fault(path)
    assert fault.line == 41
    assert "breaks off" in fault.why


def test_all_bad_lines_are_reported_together(tmp_path):
    lines = [json.dumps(row) for row in labelled_rows()]
    lines[4], lines[9], lines[30] = "{", '{"text": 5, "metadata": {"label": null}}', "x"
    error = refusal(DataSpec("s", train=write_lines(tmp_path / "t.jsonl", lines), split=HALVES))
    assert error.total == 4
    assert {line for fault in error.faults for line in fault.lines} == {5, 10, 31}


@pytest.mark.parametrize(
    ("row", "what", "why"),
    [
        ({"metadata": {"label": "a"}}, "missing key 'text'", 'has only "metadata.label"'),
        ({"text": "a"}, "missing key 'metadata.label'", 'has only "text"'),
        ({"text": "a", "metadata": None}, "missing key 'metadata.label'", "has only"),
        (labelled(None), "key 'text'", "found null, expected text"),
        (labelled(5), "key 'text'", "found 5, expected text"),
        (labelled(True), "key 'text'", "found true, expected text"),
        (labelled(["a"]), "key 'text'", "found a list of 1, expected text"),
        (labelled({"a": 1}), "key 'text'", 'found an object with the keys "a"'),
        (labelled(""), "key 'text'", 'found "", expected text'),
        (labelled(" \t\n\u00a0"), "key 'text'", "expected text"),
        (labelled("\u200b\ufeff"), "key 'text'", "expected text"),
        (labelled("a\x00b"), "key 'text'", "NUL at character 2"),
        (labelled("ab\ud800"), "key 'text'", "lone surrogate \\ud800 at character 3"),
        (labelled("a", None), "key 'metadata.label'", "found null, expected text or a whole"),
        (labelled("a", " "), "key 'metadata.label'", 'found " ", expected text'),
        (labelled("a", 1.5), "key 'metadata.label'", "found 1.5"),
        (labelled("a", []), "key 'metadata.label'", "found a list of 0"),
    ],
)
def test_bad_fields_are_reported_by_line_and_key(tmp_path, row, what, why):
    fault = only_fault(with_line(tmp_path, json.dumps(row)))
    assert fault.line == 17
    assert fault.what == what
    assert why in fault.why


def test_the_value_seen_is_shortened(tmp_path):
    fault = only_fault(with_line(tmp_path, json.dumps(labelled("text", ["x" * 500] * 500))))
    assert len(str(fault)) < 400
    broken = with_line(tmp_path, '{"text": ' + "x" * 5000)
    assert len(only_fault(broken).why) < 120


@pytest.mark.parametrize(
    ("labels", "names"),
    [([0, 1], {"0", "1"}), ([0.0, 1.0], {"0", "1"}), ([True, False], {"true", "false"})],
)
def test_numbers_and_booleans_are_labels(tmp_path, labels, names):
    rows = [labelled(f"text {n}", labels[n % 2]) for n in range(40)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load_dataset(DataSpec("small", train=path, split=HALVES))
    assert {row.label for row in dataset.train.texts} == names


def test_keys_that_are_not_read_are_named_once_with_a_count(tmp_path):
    rows = [{**labelled(f"text {n}", n % 2, page=n), "source": None} for n in range(40)]
    rows[3]["note"] = "see page 4"
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    dataset = load_dataset(DataSpec("small", train=path, split=HALVES))
    assert dataset.warnings == (f"{path}: not read: metadata.page (40 rows), note (1 row)",)
    grouped = replace(HALVES, group_by="metadata.page")
    assert load_dataset(DataSpec("small", train=path, split=grouped)).warnings == (
        f"{path}: not read: note (1 row)",
    )


def csv_lines() -> list[str]:
    return ["text,label", *(f"row number {n},label {n % 2}" for n in range(40))]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("one,two,three", "found 3 fields, the header names 2"),
        ("alone", "found 1 field, the header names 2"),
        (",label 1", 'found "", expected text'),
        ("some text,", 'found "", expected text'),
        ("some text, ", 'found " ", expected text'),
        ('a "quoted" word,label 1', ""),
        ('"closed"too early,label 1', "expected after"),
    ],
)
def test_bad_csv_rows_are_reported_by_line(tmp_path, line, why):
    lines = csv_lines()
    lines.insert(16, line)
    path = write_lines(tmp_path / "train.csv", lines)
    if not why:
        assert sum(load_dataset(DataSpec("s", train=path, split=HALVES)).rows.values()) == 41
        return
    fault = only_fault(path)
    assert fault.line == 17
    assert why in fault.why


def test_a_quote_left_open_is_reported_where_it_opens(tmp_path):
    lines = csv_lines()
    lines.insert(16, '"never closed,label 1')
    fault = only_fault(write_lines(tmp_path / "train.csv", lines))
    assert fault.line == 17
    assert "unexpected end of data" in fault.why


def test_csv_records_of_several_lines_keep_their_line_numbers(tmp_path):
    lines = csv_lines()
    lines[3] = '"row, with a comma,\nand ""two"" lines",label 1'
    lines[10] = "only one field"
    fault = only_fault(write_lines(tmp_path / "train.csv", lines))
    assert fault.line == 12
    lines[10] = "row,label 0"
    path = write_lines(tmp_path / "train.csv", lines)
    dataset = load_dataset(DataSpec("s", train=path, split=HALVES))
    texts = [row.text for row in dataset.train.texts]
    for benchmark in (dataset.valid, dataset.sealed_test()):
        texts += benchmark.classification.texts.values()
    assert 'row, with a comma,\nand "two" lines' in texts


def test_a_column_named_twice_is_refused(tmp_path):
    path = write_lines(tmp_path / "train.csv", ["text,label,text", "a,b,c"])
    fault = only_fault(path)
    assert fault.line == 1
    assert 'the column "text" is named twice' in fault.why


def test_csv_and_json_lines_are_told_apart_by_ending_and_by_content(tmp_path):
    csv, json_lines = csv_lines(), [json.dumps(row) for row in labelled_rows()]
    digests = {
        load_dataset(
            DataSpec("s", train=write_lines(tmp_path / name, lines), split=HALVES)
        ).fingerprint
        for name, lines in [
            ("a.csv", csv),
            ("a.CSV", csv),
            ("a", csv),
            ("b.jsonl", json_lines),
            ("b.ndjson", json_lines),
            ("b", json_lines),
        ]
    }
    assert len(digests) == 1
