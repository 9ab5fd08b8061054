"""Writing small data sets to disk, and catching what is said of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from embedsweep.core.errors import DataError, Fault, UsageError
from embedsweep.core.experiment import DataSpec, SplitRule
from embedsweep.data import load_dataset

HALVES = SplitRule(valid=0.25, test=0.25)


def labelled(text: str, label: object = "a", **metadata: object) -> dict[str, object]:
    return {"text": text, "metadata": {"label": label, **metadata}}


def labelled_rows(count: int = 40, labels: int = 2, mark: str = "row") -> list[dict[str, object]]:
    return [labelled(f"{mark} number {n}", f"label {n % labels}") for n in range(count)]


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    return write_lines(path, (json.dumps(row) for row in rows))


def with_line(folder: Path, line: str, number: int = 17) -> Path:
    """Forty good labelled rows, the given line put in as line ``number``."""
    lines = [json.dumps(row) for row in labelled_rows()]
    lines.insert(number - 1, line)
    return write_lines(folder / "train.jsonl", lines)


def refusal(spec: DataSpec) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(spec)
    assert caught.value.exit_code == 3
    assert caught.value.total >= len(caught.value.faults) >= 1
    return caught.value


def only_fault(path: Path, split: SplitRule = HALVES, **options: object) -> Fault:
    """The one fault of a training file, which must be named as the place."""
    spec = DataSpec("small", train=path, split=split, **options)
    error = refusal(spec)
    assert error.total == 1, str(error)
    assert error.faults[0].where == str(path)
    assert error.faults[0].fix
    return error.faults[0]


def misuse(spec: DataSpec) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load_dataset(spec)
    assert caught.value.exit_code == 2
    return caught.value
