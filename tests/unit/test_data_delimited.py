"""Delimited text as programs write it: separators, quotes, marks and encodings."""

from __future__ import annotations

import gzip
import json

import pytest

from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset
from tests.unit.data_writing import HALVES, only_fault, refusal

TEXTS = [f'say "{n}", then; wait|{n}' if n % 3 == 0 else f"row number {n}" for n in range(40)]
PLAIN = [f"row number {n}" for n in range(40)]


def quoted(field: str, delimiter: str) -> str:
    special = any(mark in field for mark in (delimiter, '"', "\n"))
    return '"' + field.replace('"', '""') + '"' if special else field


def delimited(delimiter: str, texts=TEXTS, end: str = "\n") -> str:
    rows = [("text", "label"), *((text, f"class {n % 2}") for n, text in enumerate(texts))]
    return "".join(delimiter.join(quoted(cell, delimiter) for cell in row) + end for row in rows)


def fingerprint_of(path, **options) -> str:
    return load_dataset(DataSpec("s", train=path, split=HALVES, **options)).fingerprint


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_the_delimiter_is_found_whatever_the_name_says(tmp_path, delimiter, end, name):
    plain, path = tmp_path / "plain.csv", tmp_path / name
    plain.write_text(delimited(","))
    path.write_bytes(delimited(delimiter, end=end).encode())
    assert fingerprint_of(path) == fingerprint_of(plain)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("line", ["sep={}", '"sep={}"', "SEP={}"])
def test_the_line_that_tells_excel_the_delimiter_is_no_row(tmp_path, delimiter, line):
    plain, path = tmp_path / "plain.csv", tmp_path / "a.csv"
    plain.write_text(delimited(","))
    path.write_text(f"\ufeff{line.format(delimiter)}\r\n{delimited(delimiter)}", encoding="utf-8")
    assert fingerprint_of(path) == fingerprint_of(plain)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_marks_encodings_and_gzip_go_together(tmp_path, encoding, pack):
    plain, path = tmp_path / "plain.csv", tmp_path / "a.csv.gz"
    plain.write_text(delimited(","))
    path.write_bytes(pack(delimited(";").encode(encoding)))
    assert fingerprint_of(path) == fingerprint_of(plain)


def test_fields_of_several_lines_and_trailing_empty_columns(tmp_path):
    texts = [f"first line {n}\nsecond; line" for n in range(40)]
    plain, path = tmp_path / "plain.jsonl", tmp_path / "a.csv"
    rows = [{"text": text, "label": f"class {n % 2}"} for n, text in enumerate(texts)]
    plain.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.write_text(delimited(";", texts, end=";;\n"))
    assert path.read_text().startswith("text;label;;\n")
    assert fingerprint_of(path) == fingerprint_of(plain)


def test_tabs_without_quoting_keep_their_quotes(tmp_path):
    texts = [f'"{n}" he said' for n in range(40)]
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{t}\tclass {n % 2}\n" for n, t in enumerate(texts)))
    dataset = load_dataset(DataSpec("s", train=path, split=HALVES))
    assert {row.text for row in dataset.train.texts} <= set(texts)
    assert "delimited by tabs, unquoted" in dataset.recognised()[0]


def test_numbers_with_a_decimal_comma_where_semicolons_divide(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"first {n};second {n};0,{n % 9 + 1}" for n in range(40)]
    path.write_text("\n".join(["sentence1;sentence2;score", *lines]))
    dataset = load_dataset(DataSpec("s", train=path, split=HALVES))
    assert {pair.score for pair in dataset.train.scored} <= {n / 10 for n in range(1, 10)}
    assert dataset.score_range == (0, 1)


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (delimited(",", PLAIN) + "alone\n", "add the missing fields, or remove the row"),
        (
            "# exported\n" + delimited(",", PLAIN),
            "make the first line the one that names the columns",
        ),
    ],
)
def test_a_row_of_another_width_is_not_always_for_want_of_quotes(tmp_path, text, fix):
    path = tmp_path / "a.csv"
    path.write_text(text)
    (fault,) = refusal(DataSpec("s", train=path, split=HALVES)).faults
    assert fault.fix == fix


def test_a_file_without_a_header_is_told_how_to_have_one(tmp_path):
    path = tmp_path / "a.csv"
    rows = delimited(",", PLAIN).partition("\n")[2]
    path.write_text(rows)
    assert "write a header line above it, such as text,label" in only_fault(path).why
    path.write_text(f"text,label\n{rows}")
    assert fingerprint_of(path)


def test_a_row_of_another_width_names_the_delimiter_to_quote(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(delimited(";", PLAIN) + "one; two;class 1\n")
    fault = only_fault(path)
    assert (fault.line, fault.fix) == (42, 'put quotes around fields that hold ";"')
    path.write_text(delimited(";", PLAIN) + '"one; two";class 1\n')
    assert fingerprint_of(path)


def array(rows, **options) -> str:
    return json.dumps(rows, **options)


ROWS = [{"text": text, "label": f"class {n % 2}"} for n, text in enumerate(TEXTS)]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a", "a.json.gz"])
def test_a_json_array_is_read(tmp_path, indent, name):
    plain, path = tmp_path / "plain.jsonl", tmp_path / name
    plain.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    content = b"\xef\xbb\xbf \n" + array(ROWS, indent=indent).encode() + b"\n\n"
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert fingerprint_of(path) == fingerprint_of(plain)


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        (lambda text: text[:-40], 159, "breaks off"),
        (lambda text: text[:-2], 161, "breaks off"),
        (lambda text: text.replace('"label": "class 1"', '"label" "class 1"', 1), 8, "delimiter"),
        (lambda text: text.replace("},", "}", 1), 6, "found '{' after an element"),
        (lambda text: text.replace('"class 1"', "NaN", 1), 6, "NaN is no JSON number"),
        (lambda text: text.replace("[", '["a text",', 1), 1, "expected an object"),
        (lambda text: text + "{}", 162, "more text after the end"),
        (lambda text: "[" * 100_000, 1, "nested too deep"),
        (lambda text: text.replace("\n]", ",\n]"), 162, "xpecting value"),
    ],
)
def test_a_bad_array_is_reported_with_its_line(tmp_path, change, line, why):
    path = tmp_path / "train.json"
    path.write_text(change(array(ROWS, indent=1)))
    fault = only_fault(path)
    assert why in fault.why
    assert fault.line == line
    path.write_text(array(ROWS, indent=1))  # the control
    assert fingerprint_of(path)


def test_one_object_over_many_lines_is_named_once(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": ROWS}, indent=1))
    fault = only_fault(path)
    assert "one JSON object over many lines" in fault.why
