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


def test_check_says_what_was_recognised_and_what_is_not_read(folder, capsys):
    rows = [{**row, "source": "mail"} for row in labelled_rows(10)]
    write_jsonl(folder / "train.jsonl", rows)
    assert main(["check", "mine.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["readings"][0] == {
        "file": str(folder / "train.jsonl"),
        "written_as": "JSON Lines",
        "format": "labelled",
        "columns": {"text": ["text"], "label": ["metadata.label"]},
        "unread": {"source": 10},
    }
    assert document["score_range"] is None
    assert main(["check", "mine.yaml"]) == 0
    said = capsys.readouterr().err
    read_as = "JSON Lines, read as labelled: text = text, label = metadata.label"
    assert f"note: train.jsonl, valid.jsonl, test.jsonl: {read_as}" in said
    assert f"note: {folder / 'train.jsonl'}: not read: source (10 rows)" in said


def test_the_same_fault_in_many_rows_is_one_entry_with_its_count(folder, capsys):
    rows = [*labelled_rows(20), *({"text": f"no label {n}"} for n in range(7))]
    write_jsonl(folder / "train.jsonl", rows)
    assert main(["check", "mine.yaml", "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    (fault,) = document["faults"]
    assert (fault["line"], fault["count"], document["total"]) == (21, 7, 7)


def test_the_advice_on_a_missing_group_works(folder, capsys):
    experiment = EXPERIMENT.replace("test.jsonl}", "test.jsonl, split: {group_by: customer}}")
    (folder / "mine.yaml").write_text(experiment)
    assert main(["check", "mine.yaml"]) == 3
    assert "remove 'group_by' from data.split" in capsys.readouterr().err
    (folder / "mine.yaml").write_text(experiment.replace("group_by: customer", ""))
    assert main(["check", "mine.yaml"]) == 0
