"""Every experiment that comes with the project is a good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import load_experiment
from embedsweep.config.arms import ARM_KINDS
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


def test_the_quickstart_tries_every_kind_of_arm_and_asks_nobody_outside():
    space = load_experiment(FOLDER / "quickstart.yaml", {}).space
    assert {arm.backend for arm in space.arms} == set(ARM_KINDS)
    assert {base.provider for base in space.bases()} == {None, "loopback"}


def test_no_experiment_that_a_provider_bills_is_without_prices_and_a_cap(tmp_path: Path):
    billed = []
    for path in FILES:
        experiment = load_experiment(path, {"EMBEDSWEEP_DATA": str(tmp_path)})
        paid = [base for base in experiment.space.bases() if base.provider == "openai"]
        if paid:
            billed.append(path.stem)
            assert {base.model for base in paid} <= set(experiment.prices)
            assert experiment.budget.cost is not None
    assert billed == ["openai"]
