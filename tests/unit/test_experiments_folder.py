"""Every experiment that comes with the project is a good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import load_experiment
from tests.conftest import ROOT

FOLDER = ROOT / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_the_folder_has_experiments_and_all_are_checked_here():
    found = [path for suffix in ("yaml", "yml") for path in FOLDER.rglob(f"*.{suffix}")]
    assert len(FILES) > 0
    assert sorted(found) == FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_experiment_of_the_project_loads(path: Path, tmp_path: Path):
    # Where the public data lies differs from machine to machine; that it is named is enough.
    experiment = load_experiment(path, {"EMBEDSWEEP_DATA": str(tmp_path)})
    assert experiment.name == path.stem
    assert experiment.trials >= 1
