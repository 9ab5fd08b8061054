"""Small inputs of the kinds that users have, each through the command line in a fresh store."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import alone
from tests.e2e.small_project import outcome

CASES = Path(os.environ.get("EMBEDSWEEP_CASES") or Path(__file__).parents[3] / "shared" / "cases")
EXPECTED = CASES / "expected.json"
ABSENT = f"no {EXPECTED}; EMBEDSWEEP_CASES names the folder with the cases"

pytestmark = pytest.mark.skipif(not EXPECTED.is_file(), reason=ABSENT)


def cases() -> list[dict[str, Any]]:
    return json.loads(EXPECTED.read_text()) if EXPECTED.is_file() else []


@pytest.fixture
def ended(monkeypatch, capfd):
    """What a command says and its exit code, with stores of its own."""

    def ended(home: Path, *words: str) -> tuple[int, str, str]:
        alone(monkeypatch, CASES)
        monkeypatch.setenv("EMBEDSWEEP_HOME", str(home))
        capfd.readouterr()
        code = outcome(*words)
        return code, *capfd.readouterr()

    return ended


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["case"])
def test_each_case_comes_to_what_it_must(tmp_path, ended, case):
    code, *streams = ended(tmp_path, *case["cmd"], f"{case['case']}/exp.yaml")
    said = "".join(streams)
    assert code in case["rc"], said
    assert "Traceback" not in said
    for wanted in case.get("say", ()):
        assert re.search(wanted, said, re.IGNORECASE), said
    for unwanted in case.get("not", ()):
        assert not re.search(unwanted, said, re.IGNORECASE), said


def test_pairs_with_labels_measure_what_the_same_triplets_do(tmp_path, ended):
    measured = []
    for case in ("labeledpair", "trip"):
        home = tmp_path / case
        code, _, said = ended(home, "sweep", "--no-promote", f"{case}/exp.yaml")
        assert code == 0, said
        document = json.loads(ended(home, "compare", "--json", f"{case}/exp.yaml")[1])
        measured.append([trial["metrics"] for trial in document["trials"]])
    metrics = [name for name in measured[0][0] if not name.endswith("seconds")]
    assert "valid/triplet_accuracy" in metrics
    for ours, theirs in zip(*measured, strict=True):
        assert {m: ours[m] for m in metrics} == pytest.approx({m: theirs[m] for m in metrics})
