"""What `embedsweep check` says of leakage, and the file it writes of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from embedsweep.cli import main
from tests.unit.data_writing import labelled, labelled_rows, write_jsonl

EXPERIMENT = """
name: mine
data: {train: train.jsonl, valid: valid.jsonl, test: test.jsonl}
objective: accuracy
search:
  trials: 1
  arms: [{backend: local, base_model: all-MiniLM-L6-v2, loss: softmax, learning_rate: 2.0e-5}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_jsonl(
        tmp_path / "train.jsonl", [*labelled_rows(10), labelled("where is my new card", "label 0")]
    )
    for name in ("valid", "test"):
        rows = [labelled(f"{name * 3} {c * 9}", f"label {n % 2}") for n, c in enumerate("stuvwx")]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    with (tmp_path / "test.jsonl").open("a") as file:
        file.write(json.dumps(labelled("so, where is my new card?", "label 0")) + "\n")
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDSWEEP_HOME", str(tmp_path / "mlruns"))
    return tmp_path


def test_check_tells_and_writes_the_findings(folder, capsys):
    assert main(["check", "mine.yaml", "--json", "--findings", "found.csv"]) == 0
    document = json.loads(capsys.readouterr().out)
    (finding,) = document["leakage"]["findings"]
    assert (finding["line"], finding["other_line"]) == (7, 11)
    counts = {"kind": "near_duplicate", "split": "test", "other": "train", "found": 1, "of": 7}
    assert counts in document["leakage"]["counts"]
    assert any("1 of 7 rows of test have a near-duplicate" in w for w in document["warnings"])
    (row,) = csv.DictReader((folder / "found.csv").read_text().splitlines())
    assert row["text"] == "so, where is my new card?"
    assert main(["check", "mine.yaml", "--findings", "found.JSON"]) == 0
    assert "note: 1 of 7 rows of test have a near-duplicate in train" in capsys.readouterr().err
    assert json.loads((folder / "found.JSON").read_text())["findings"] == [finding]


@pytest.mark.parametrize(
    ("name", "said"),
    [("found.txt", "ends in .csv or .json"), ("no/such/found.csv", "No such file or directory")],
)
def test_a_file_that_cannot_be_written(folder, capsys, name, said):
    assert main(["check", "mine.yaml", "--findings", name]) == 2
    assert said in capsys.readouterr().err
