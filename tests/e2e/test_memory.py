"""The memory of a sweep does not grow from trial to trial."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.projects import PAIRS, Ended, Project, ended_of
from tests.integration.tiny_models import make_tiny_base

pytestmark = pytest.mark.slow

WIDTH = 256
MODEL_BYTES = 30_522 * WIDTH * 4
"""Of the word embeddings alone; a training holds their gradients too."""

EXPERIMENT = """
name: long
data: {train: pairs.jsonl, split: {valid: 0.3, test: 0.3}}
objective: ndcg@10
search:
  trials: %d
  arms:
    - backend: local
      base_model: %s
      loss: [multiple_negatives_ranking]
      epochs: 1
      learning_rate: {low: 1.0e-6, high: 1.0e-4, log: true}
      batch_size: 16
"""
COMMAND = "import sys; from embedsweep.cli import main; sys.exit(main(sys.argv[1:]))"
STRONG = "import weakref; weakref.proxy = lambda model: model; "
"""Undoes what frees a model: weak references to it then keep it alive."""


def peaks(folder: Path, trials: int, before: str = "") -> list[int]:
    """The peak of each trial of a sweep, in bytes."""
    project = Project(folder).with_stores()
    project.write_rows("pairs.jsonl", PAIRS)
    base = make_tiny_base(folder / "base", WIDTH)
    (folder / "long.yaml").write_text(EXPERIMENT % (trials, base))
    ended = run(project, before, "sweep", "long.yaml", "--no-promote", "--json")
    assert ended.code == 0, ended.err
    rows = sorted(ended.document["trials"], key=lambda row: row["number"])
    assert len(rows) == trials
    return [row["peak_memory"] for row in rows]


def run(project: Project, before: str, *words: str) -> Ended:
    process = subprocess.Popen(
        [sys.executable, "-c", before + COMMAND, *words],
        cwd=project.folder,
        env={**project.environment, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return ended_of(process)


def test_trials_10_and_50_take_no_more_memory_than_the_first(tmp_path: Path) -> None:
    peak = peaks(tmp_path, 50)
    # Less than two models, and not nine or forty: the C library's heap may grow once by as much.
    assert peak[9] - peak[0] < 2 * MODEL_BYTES
    assert peak[49] - peak[9] < 2 * MODEL_BYTES


def test_control_without_the_guard_ten_trials_take_more(tmp_path: Path) -> None:
    peak = peaks(tmp_path, 10, STRONG)
    assert max(peak) - peak[0] > 2 * MODEL_BYTES
