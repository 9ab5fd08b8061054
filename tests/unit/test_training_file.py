"""Files that come over the OpenAI API: what they give, and what is said of bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from embedsweep.core.dataset import LabelledText, Pair, ScoredPair, TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.data.training_file import read_training_file, read_validation_file

APPLE, CAR, PEAR = (
    {"text": text, "metadata": {"label": label}}
    for text, label in (("apple", "fruit"), ("car", "vehicle"), ("pear", "fruit"))
)


def written(folder: Path, *rows: dict, name: str = "file-1.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [APPLE, CAR],
            TrainingSet(texts=(LabelledText("apple", "fruit"), LabelledText("car", "vehicle"))),
        ),
        (
            [{"anchor": "a", "positive": "b"}, {"anchor": "c", "positive": "d"}],
            TrainingSet(pairs=(Pair("a", "b"), Pair("c", "d"))),
        ),
        (
            [
                {"anchor": "a", "positive": "b", "negative": "x"},
                {"anchor": "c", "positive": "d", "negative": ["y", "z"]},
            ],
            TrainingSet(pairs=(Pair("a", "b", ("x",)), Pair("c", "d", ("y", "z")))),
        ),
        (
            [
                {"sentence1": "a", "sentence2": "b", "score": 1},
                {"sentence1": "c", "sentence2": "d", "score": 0.5},
            ],
            TrainingSet(scored=(ScoredPair("a", "b", 1.0), ScoredPair("c", "d", 0.5))),
        ),
    ],
)
def test_the_rows_of_every_form(tmp_path, rows, expected):
    assert read_training_file(written(tmp_path, *rows)) == expected
    # The format is told by the content where the name does not tell it.
    assert read_training_file(written(tmp_path, *rows, name="file-2")) == expected


def test_repeats_count_once(tmp_path):
    assert len(read_training_file(written(tmp_path, APPLE, CAR, APPLE, CAR, PEAR))) == 3


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([APPLE], "there is one row"),
        ([APPLE, APPLE], "there is one row"),
        ([APPLE, PEAR], 'every row has the label "fruit"'),
        ([{"anchor": "a", "positive": "b"}], "there is one row"),
        (
            [
                {"sentence1": "a", "sentence2": "b", "score": 1},
                {"sentence1": "c", "sentence2": "d", "score": 1},
            ],
            "every row has the score 1",
        ),
    ],
)
def test_rows_that_tell_nothing_are_refused(tmp_path, rows, why):
    path = written(tmp_path, *rows)
    with pytest.raises(DataError, match=why):
        read_training_file(path)
    with pytest.raises(DataError, match=why):
        read_validation_file(path, TrainingSet())


def test_every_fault_is_told_with_its_line(tmp_path):
    path = written(tmp_path, APPLE, {"text": 5, "metadata": {"label": "x"}}, CAR, {"txt": "x"})
    with pytest.raises(DataError) as caught:
        read_training_file(path)
    assert [(fault.line, fault.what) for fault in caught.value.faults] == [
        (2, "key 'text'"),
        (4, "missing key 'text'"),
        (4, "missing key 'metadata.label'"),
    ]


def test_a_small_file_that_unpacks_to_a_large_one_is_refused_unread(tmp_path):
    path = tmp_path / "file-1.jsonl"
    path.write_bytes(gzip.compress(b"\n".join(json.dumps(row).encode() for row in (APPLE, CAR))))
    with pytest.raises(DataError, match="compressed with gzip"):
        read_training_file(path)
    path.write_bytes(gzip.decompress(path.read_bytes()))
    assert len(read_training_file(path)) == 2, "the control"


def test_a_validation_file_measures_without_a_probe(tmp_path):
    training = read_training_file(written(tmp_path, APPLE, CAR))
    benchmark = read_validation_file(written(tmp_path, APPLE, CAR, PEAR), training)
    assert benchmark.classification is None
    assert len(benchmark.retrieval.queries) == 2
    with pytest.raises(DataError, match="none can find another"):
        read_validation_file(written(tmp_path, APPLE, CAR), training)
