"""Specs that cannot work are refused before a file is opened, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.core.experiment import DataSpec, SplitRule
from tests.unit.data_writing import misuse

TRAIN, OTHER = Path("absent.jsonl"), Path("other.jsonl")
RULE = SplitRule(0.2, 0.2)


@pytest.mark.parametrize(
    ("options", "what", "why"),
    [
        ({}, "source", "found none, expected one of train, hf, beir, builtin"),
        ({"train": TRAIN, "beir": OTHER, "split": RULE}, "source", "found train and beir"),
        ({"valid": TRAIN, "test": OTHER}, "source", "found none"),
        ({"builtin": "python-doc"}, "builtin", "found 'python-doc', expected 'python-docs'"),
        ({"builtin": "python-docs", "test": OTHER}, "test", "nothing beside builtin"),
        ({"beir": OTHER, "valid": OTHER}, "valid", "nothing beside beir"),
        ({"beir": OTHER, "format": "pairs"}, "format", "nothing beside beir"),
        ({"beir": OTHER, "columns": {"text": "a"}}, "columns", "nothing beside beir"),
        ({"beir": OTHER, "few_shot": 3}, "few_shot", "nothing beside beir"),
        ({"builtin": "python-docs", "slice_by": "a"}, "slice_by", "nothing beside builtin"),
        (
            {"builtin": "python-docs", "split": SplitRule(0.2, 0.2, group_by="module")},
            "split.group_by",
            "nothing beside builtin",
        ),
        (
            {"builtin": "python-docs", "split": SplitRule(0.2, 0.0)},
            "no test split",
            "neither a test file nor a share",
        ),
        ({"train": TRAIN, "split": RULE, "format": "csv"}, "format", "labelled, pairs, scored"),
        (
            {"train": TRAIN, "split": RULE, "columns": {"txt": "a"}},
            "columns",
            "found txt, expected fields of one format: text, label or anchor, positive, negative",
        ),
        (
            {"train": TRAIN, "split": RULE, "columns": {"text": "a", "anchor": "b"}},
            "columns",
            "expected fields of one format",
        ),
        (
            {"train": TRAIN, "split": RULE, "format": "pairs", "columns": {"text": "a"}},
            "columns",
            "anchor, positive, negative",
        ),
        ({"train": TRAIN, "split": RULE, "few_shot": 0}, "few_shot", "found 0, expected 1"),
        ({"train": TRAIN, "split": RULE, "max_train": -1}, "max_train", "found -1, expected 1"),
        ({"train": TRAIN, "split": RULE, "max_valid": 0}, "max_valid", "found 0, expected 1"),
        ({"train": TRAIN, "split": SplitRule(0.5, 0.5)}, "split", "below 1 together"),
        ({"train": TRAIN, "split": SplitRule(-0.1, 0.5)}, "split", "valid -0.1 and test 0.5"),
        ({"train": TRAIN, "split": SplitRule(0.2, 0.0)}, "no test split", "share to split off"),
        (
            {"train": TRAIN, "test": OTHER, "split": RULE},
            "split.test",
            "test has a file of its own and a share of 0.2",
        ),
        (
            {"train": TRAIN, "test": TRAIN, "split": SplitRule(0.2, 0)},
            "test file",
            "train and test are the same file",
        ),
    ],
)
def test_each_misuse_is_named_with_its_fix(options, what, why):
    error = misuse(DataSpec("small", **options))
    assert error.total == 1, str(error)
    (fault,) = error.faults
    assert (fault.what, fault.where) == (what, "data")
    assert why in fault.why
    assert fault.fix


def test_all_misuses_are_reported_together():
    spec = DataSpec("small", builtin="nothing", format="csv", few_shot=0, max_valid=0)
    found = [fault.what for fault in misuse(spec).faults]
    assert found == ["builtin", "format", "few_shot", "format", "few_shot", "max_valid"]
