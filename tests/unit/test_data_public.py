"""The public data sets, against the counts their descriptions state."""

from __future__ import annotations

from collections import Counter

import pytest

from embedsweep.core.dataset import Split
from embedsweep.core.experiment import DataSpec, OnOverlap, SplitRule
from embedsweep.core.leakage import Leakage, LeakKind
from embedsweep.data import load_dataset
from tests.conftest import public_data
from tests.unit.data_writing import refusal

DROP = OnOverlap.DROP_FROM_TRAIN


def tallies(leakage: Leakage, kind: LeakKind) -> dict[str, tuple[int, int]]:
    return {
        f"{tally.split}/{tally.other}": (tally.found, tally.of)
        for tally in leakage.tallies
        if tally.kind is kind
    }


def test_cranfield():
    dataset = load_dataset(DataSpec("cranfield", beir=public_data("cranfield")))
    assert dataset.rows == {Split.TRAIN: 100, Split.VALID: 25, Split.TEST: 100}
    assert dataset.warnings == ()
    assert Counter(pair.grade for pair in dataset.train.pairs) == {1: 158, 2: 327, 3: 169, 4: 63}
    for benchmark, grades in (
        (dataset.valid, {1: 40, 2: 81, 3: 33, 4: 20}),
        (dataset.sealed_test(), {1: 165, 2: 325, 3: 185, 4: 45}),
    ):
        assert len(benchmark.retrieval.documents) == 1398
        judged = benchmark.retrieval.judgements.values()
        assert Counter(grade for row in judged for grade in row.values()) == grades
        examples = Counter(benchmark.relevance.relevant.values())
        assert examples == {True: sum(grades.values()), False: sum(grades.values())}
    shared = tallies(dataset.leakage, LeakKind.SHARED_DOCUMENT)
    assert shared["test/train"] == (248, 540)
    assert tallies(dataset.leakage, LeakKind.NEAR_DUPLICATE)["test/train"] == (1, 100)


def test_squad_mini():
    dataset = load_dataset(DataSpec("squad", beir=public_data("squad-mini")))
    assert dataset.rows == {Split.TRAIN: 7729, Split.VALID: 500, Split.TEST: 1000}
    assert len(dataset.train.pairs) == 7729
    assert len(dataset.valid.retrieval.documents) == 3648
    assert len(dataset.sealed_test().retrieval.queries) == 1000
    assert dataset.leakage.findings == ()
    shared = tallies(dataset.leakage, LeakKind.SHARED_PAIR)
    assert shared == {"train/train": (7728, 7729)}


def test_banking77_overlap():
    folder = public_data("banking77")
    rule = SplitRule(0.15, 0.0)
    spec = {"train": folder / "train.jsonl", "test": folder / "test.jsonl", "split": rule}
    error = refusal(DataSpec("banking77", **spec))
    assert error.total == 25
    dataset = load_dataset(DataSpec("banking77", **spec, on_overlap=DROP))
    dropped = [note for note in dataset.warnings if "in test too" in note]
    assert sum(int(note.split("(")[1].split()[0]) for note in dropped) == 25
    assert dataset.rows[Split.TEST] == 3080
    assert len(set(dataset.valid.classification.labels.values())) == 77
    assert len({row.label for row in dataset.train.texts}) == 77
    shares = dataset.rows[Split.VALID] / (dataset.rows[Split.VALID] + dataset.rows[Split.TRAIN])
    assert shares == pytest.approx(0.15, abs=0.01)
    assert tallies(dataset.leakage, LeakKind.OVERLAP)["test/train"][0] == 21
    near = tallies(dataset.leakage, LeakKind.NEAR_DUPLICATE)
    assert near == {
        "test/train": (688, 3080),
        "test/valid": (150, 3080),
        "valid/train": (291, 1432),
    }


def test_clinc150_overlap():
    folder = public_data("clinc150")
    files = {name: folder / f"{name}.jsonl" for name in ("train", "valid", "test")}
    assert refusal(DataSpec("clinc150", **files)).total >= 16 + 19
    dataset = load_dataset(DataSpec("clinc150", **files, on_overlap=DROP, few_shot=10))
    assert dataset.rows[Split.TRAIN] == 1500
    assert dataset.rows[Split.TEST] == 4500
    assert any("(19 rows of test)" in note for note in dataset.warnings)


def test_stsb_captions():
    folder = public_data("stsb-captions")
    files = {"train": "train.jsonl", "valid": "dev.jsonl", "test": "test.jsonl"}
    paths = {name: folder / file for name, file in files.items()}
    dataset = load_dataset(DataSpec("captions", **paths, on_overlap=DROP))
    assert dataset.rows[Split.VALID] == dataset.rows[Split.TEST] == 375
    assert dataset.rows[Split.TRAIN] >= 995
    assert len(dataset.sealed_test().similarity.scores) == 375
