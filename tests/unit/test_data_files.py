"""What a file may be: encodings, compression, sizes, and paths that are no files."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from embedsweep.core.dataset import Split
from embedsweep.core.errors import SHOWN_FAULTS, DataError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import load_dataset
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import MAX_LINE_BYTES, TextFile
from tests.unit.data_writing import (
    HALVES,
    labelled,
    labelled_rows,
    only_fault,
    refusal,
    write_jsonl,
    write_lines,
)


def good_bytes(line_end: str = "\n") -> bytes:
    return "".join(json.dumps(row) + line_end for row in labelled_rows()).encode()


def rows_of(path: Path) -> int:
    return sum(load_dataset(DataSpec("small", train=path, split=HALVES)).rows.values())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no records: 0 bytes"),
        (b"\n  \n\r\n\t\n", "no records: 4 lines, all blank"),
        (b"\xef\xbb\xbf", "no records"),
    ],
)
@pytest.mark.parametrize("name", ["train.jsonl", "train.csv", "train"])
def test_a_file_without_records_is_refused(tmp_path, name, content, why):
    path = tmp_path / name
    path.write_bytes(content)
    assert why in only_fault(path).why


def test_every_empty_file_is_reported(tmp_path):
    train, test = write_lines(tmp_path / "a.jsonl", []), write_lines(tmp_path / "b.jsonl", [])
    error = refusal(DataSpec("small", train=train, test=test, split=SplitRule(0.2, 0.0)))
    assert [fault.where for fault in error.faults] == [str(train), str(test)]


def test_a_csv_of_a_header_alone_is_refused(tmp_path):
    path = write_lines(tmp_path / "train.csv", ["text,label"])
    assert only_fault(path).why == "no records: only a header"


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + good_bytes(),
        good_bytes("\r\n"),
        good_bytes(" \t\r\n"),
        good_bytes("\n\n  \n"),
        good_bytes().rstrip(b"\n"),
        gzip.compress(good_bytes()),
        gzip.compress(good_bytes()[:500]) + gzip.compress(good_bytes()[500:]),
        gzip.compress(b"\xef\xbb\xbf" + good_bytes()),
    ],
    ids=["BOM", "CRLF", "trailing", "blank lines", "no end", "gzip", "two members", "gzip BOM"],
)
@pytest.mark.parametrize("name", ["train.jsonl", "train.jsonl.gz", "train.txt"])
def test_harmless_differences_are_accepted_whatever_the_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert rows_of(path) == 40


def test_a_single_line_of_ten_megabytes_is_accepted(tmp_path):
    rows = [*labelled_rows(), labelled("long " * 2_000_000, "label 0")]
    assert rows_of(write_jsonl(tmp_path / "train.jsonl", rows)) == 41
    lines = ["text,label", *(f"{r['text']},{r['metadata']['label']}" for r in rows)]
    assert rows_of(write_lines(tmp_path / "train.csv", lines)) == 41


def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "train.jsonl"
    with path.open("wb") as file:
        file.truncate(MAX_LINE_BYTES * 4)
    tracemalloc.start()
    fault = only_fault(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "longer than 64 MiB" in fault.why
    assert fault.line == 1
    assert peak < MAX_LINE_BYTES * 2.5


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_encodings_with_a_mark_are_read(tmp_path, encoding):
    path = tmp_path / "train.jsonl"
    path.write_bytes(good_bytes().decode().encode(encoding))
    assert rows_of(path) == 40
    path.write_bytes(path.read_bytes()[:-3])
    assert "reading broke off" in refusal(DataSpec("s", train=path, split=HALVES)).faults[0].why


def test_wide_encoding_without_a_mark_is_reported_as_nul(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(good_bytes().decode().encode("utf-16-le"))
    assert "NUL at byte offset 1," in refusal(DataSpec("s", train=path, split=HALVES)).faults[0].why


@pytest.mark.parametrize(
    ("bad", "seen"),
    [
        ("café".encode("latin-1"), "byte 0xe9 at byte offset {} is not UTF-8"),
        (b"x\xed\xa0\x80y", "byte 0xed at byte offset {} is not UTF-8"),
        (b"caf\x00", "NUL at byte offset {}"),
    ],
    ids=["Latin-1", "surrogate", "NUL"],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "BOM"])
def test_bad_bytes_are_reported_by_line_and_byte_offset(tmp_path, start, bad, seen):
    lines = good_bytes().splitlines(keepends=True)
    lines[16] = b'{"text": "' + bad + b'", "metadata": {"label": "a"}}\n'
    path = tmp_path / "train.jsonl"
    content = start + b"".join(lines)
    path.write_bytes(content)
    fault = only_fault(path)
    offset = content.index(bad) + next(i for i, b in enumerate(bad) if b > 127 or b == 0)
    assert fault.line == 17
    assert seen.format(offset) in fault.why


def test_paths_that_are_no_files_are_refused_and_never_waited_for(tmp_path):
    loop, pipe, link = tmp_path / "loop", tmp_path / "pipe", tmp_path / "link"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "nothing")
    assert "symbolic links" in only_fault(loop).why
    assert "no regular file" in only_fault(pipe).why
    assert "a folder" in only_fault(tmp_path).why
    assert "no such file" in only_fault(link).why
    assert "no such file" in only_fault(tmp_path / "absent.jsonl").why


def test_a_socket_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("here")
        assert "no regular file" in only_fault(Path("here")).why


def test_an_unreadable_file_is_refused(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", labelled_rows())
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything, so another user looks
        os.seteuid(65534)
    try:
        assert "ermission denied" in only_fault(path).why
    finally:
        os.seteuid(user)
    path.chmod(0o600)
    assert rows_of(path) == 40


@pytest.mark.parametrize("cut", [15, 60, -4], ids=["head", "body", "checksum"])
def test_a_broken_gzip_is_refused(tmp_path, cut):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(good_bytes())[:cut])
    assert "reading broke off" in refusal(DataSpec("s", train=path, split=HALVES)).faults[-1].why


def test_a_damaged_gzip_is_refused(tmp_path):
    content = bytearray(gzip.compress(good_bytes()))
    content[40] ^= 0xFF
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    assert "reading broke off" in refusal(DataSpec("s", train=path, split=HALVES)).faults[-1].why


def mostly_bad_rows(path: Path, count: int) -> DataSpec:
    good = [json.dumps(row) for row in labelled_rows(200)]
    bad = [json.dumps({"text": "some words " * 20})] * count
    return DataSpec("small", train=write_lines(path, [*good, *bad]), split=HALVES)


def test_the_same_fault_in_many_rows_is_one_with_its_count_and_first_lines(tmp_path):
    error = refusal(mostly_bad_rows(tmp_path / "train.jsonl", 100_000))
    assert error.total == 100_000
    (fault,) = error.faults
    assert (fault.line, fault.count, fault.lines) == (201, 100_000, (201, 202, 203, 204, 205))
    assert "(100000 times, first in lines 201, 202, 203, 204, 205)" in str(error)
    assert fault.as_dict()["count"] == 100_000


def test_kinds_of_faults_beyond_the_first_twenty_are_counted_and_not_kept(tmp_path):
    rows = [*labelled_rows(200), *({**labelled("a"), "text": [n]} for n in range(3))]
    kinds = ["{" + "x" * n for n in range(1, 30)]
    lines = [*(json.dumps(row) for row in rows), *(f"{kind}\n{kind}" for kind in kinds)]
    path = write_lines(tmp_path / "train.jsonl", lines)
    error = refusal(DataSpec("small", train=path, split=HALVES))
    assert error.total == 3 + 58
    assert len(error.faults) == SHOWN_FAULTS
    assert "61 faults in all, the first 20 are shown" in str(error)


def test_memory_does_not_grow_with_the_faults(tmp_path):
    def peak(spec: DataSpec) -> int:
        tracemalloc.start()
        with pytest.raises(DataError):
            load_dataset(spec)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = (mostly_bad_rows(tmp_path / str(count), count) for count in (500, 5000))
    assert peak(many) < peak(few) * 1.1
    good = write_jsonl(tmp_path / "good", [labelled("some words " * 20)] * 5000)
    assert peak(DataSpec("small", train=good, split=HALVES)) > peak(many) * 5


def test_the_test_split_is_sealed_with_the_digest_of_its_files(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", labelled_rows())
    dataset = load_dataset(DataSpec("small", train=path, split=HALVES))
    assert dataset.sealed_test().split is Split.TEST
    content = path.read_bytes()
    path.write_bytes(content.replace(b"number 3", b"number 4"))
    with pytest.raises(DataError, match=r"digest changed since it was checked \(\w{12} → \w{12}\)"):
        dataset.sealed_test()
    path.write_bytes(content)
    assert dataset.sealed_test().split is Split.TEST
    path.unlink()
    with pytest.raises(DataError, match="unreadable"):
        dataset.sealed_test()


def test_the_digest_is_that_of_the_bytes_on_disk(tmp_path):
    for content in (good_bytes(), gzip.compress(good_bytes()), b"\xef\xbb\xbf" + good_bytes()):
        path = tmp_path / "any"
        path.write_bytes(content)
        file = TextFile(path)
        assert sum(1 for _ in file.lines(FaultLog())) == 40
        assert file.sha256 == hashlib.sha256(content).hexdigest()
