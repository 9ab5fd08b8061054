"""SIGTERM and Ctrl-C end a command within seconds, and nothing stays as running."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.projects import PAIRS, Project, ended_of, said
from tests.integration.tiny_models import make_tiny_base

EXPERIMENT = """
name: ended
data: {train: pairs.jsonl, split: {valid: 0.3, test: 0.3}}
objective: mrr@10
search:
  trials: 2
  arms:
    - backend: local
      base_model: tiny
      loss: [multiple_negatives_ranking]
      epochs: EPOCHS
      learning_rate: {low: 1.0e-3, high: 1.0e-2, log: true}
      batch_size: 8
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def project(folder: Path, tiny: Path, epochs: int) -> Project:
    made = Project(folder).with_stores()
    (folder / "tiny").symlink_to(tiny)
    made.write_rows("pairs.jsonl", PAIRS)
    (folder / "ended.yaml").write_text(EXPERIMENT.replace("EPOCHS", str(epochs)))
    return made


def states(made: Project) -> dict[str, list[str]]:
    return {
        kind: [run.info.status for run in made.runs("ended", kind=kind)]
        for kind in ("sweep", "trial", "promotion")
    }


@pytest.mark.parametrize(
    ("sent", "to_all", "code"),
    [
        (signal.SIGTERM, False, 143),
        (signal.SIGTERM, True, 143),
        (signal.SIGINT, True, 130),
    ],
)
def test_a_signal_in_training_ends_runs_and_sweep_as_killed(
    tmp_path: Path, tiny: Path, sent: signal.Signals, to_all: bool, code: int
) -> None:
    made = project(tmp_path, tiny, epochs=1000)
    process = made.start("sweep", "ended.yaml")
    said(process, lambda line: line.startswith("baseline 1: "))
    while "RUNNING" not in states(made)["trial"]:
        assert process.poll() is None
        time.sleep(0.2)
    (os.killpg if to_all else os.kill)(process.pid, sent)
    ended = ended_of(process)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    found = states(made)
    assert found["sweep"] == ["KILLED"]
    assert "KILLED" in found["trial"]
    assert "RUNNING" not in found["trial"]
    assert list((made.home / "work").iterdir()) == []


def test_the_sweep_is_taken_up_again_after_sigterm(tmp_path: Path, tiny: Path) -> None:
    made = project(tmp_path, tiny, epochs=1)
    process = made.start("sweep", "ended.yaml")
    said(process, lambda line: line.startswith("baseline 0: "))
    process.terminate()
    assert ended_of(process).code == 143
    document = made.run("sweep", "ended.yaml", "--json").document
    assert [trial["state"] for trial in document["trials"]] == ["completed"] * 2
    assert states(made)["sweep"] == ["FINISHED"]


def test_a_signal_in_promotion_leaves_no_run_behind(tmp_path: Path, tiny: Path) -> None:
    made = project(tmp_path, tiny, epochs=1)
    process = made.start("sweep", "ended.yaml")
    said(process, lambda line: line.startswith("promotion: "))
    process.terminate()
    ended = ended_of(process)
    assert ended.code == 143, ended.err
    found = states(made)
    # The sweep was over: what it found is whole.
    assert found["sweep"] == ["FINISHED"]
    assert "RUNNING" not in [*found["trial"], *found["promotion"]]
