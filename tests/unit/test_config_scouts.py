"""Scouts are asked for where they have something to scout for."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import load_experiment
from embedsweep.core.errors import Fault, UsageError
from embedsweep.core.experiment import Experiment

LOCAL = "{backend: local, base_model: m, learning_rate: [1.0e-5, 1.0e-4]}"
ADAPTER = "{backend: adapter, base_model: m, learning_rate: [1.0e-3]}"


def load(folder: Path, arms: str, search: str) -> Experiment:
    path = folder / "experiment.yaml"
    path.write_text(
        "name: scouted\n"
        "data: {builtin: python-docs, split: {valid: 0.2, test: 0.2}}\n"
        "objective: ndcg@10\n"
        f"search: {{trials: 4, arms: [{arms}], {search}}}\n"
    )
    return load_experiment(path, {})


def refused(folder: Path, arms: str, search: str) -> Fault:
    with pytest.raises(UsageError) as caught:
        load(folder, arms, search)
    (fault,) = caught.value.faults
    return fault


def test_there_are_none_unless_asked_for(tmp_path: Path) -> None:
    assert load(tmp_path, LOCAL, "seed: 7").scouts is None
    assert load(tmp_path, f"{ADAPTER}, {LOCAL}", "scouts: 16").scouts == 16


@pytest.mark.parametrize(("count", "words"), [("1", "at least 2"), ("1.5", "whole number")])
def test_too_few_to_compare_are_refused(tmp_path: Path, count: str, words: str) -> None:
    fault = refused(tmp_path, LOCAL, f"scouts: {count}")
    assert fault.what == "search.scouts"
    assert words in fault.why


def test_a_grid_leaves_nothing_to_choose(tmp_path: Path) -> None:
    fault = refused(tmp_path, LOCAL, "sampler: grid, scouts: 4")
    assert (fault.what, fault.why) == ("search.scouts", "the grid sampler tries every recipe")


def test_without_a_local_arm_there_is_nothing_to_scout_for(tmp_path: Path) -> None:
    fault = refused(tmp_path, ADAPTER, "scouts: 4")
    assert fault.what == "search.scouts"
    assert "no arm fine-tunes a model of this machine" in fault.why


def test_a_faulty_arm_is_told_alone(tmp_path: Path) -> None:
    arm = LOCAL.replace("base_model: m", "base_model: []")
    assert refused(tmp_path, arm, "scouts: 4").what == "search.arms[0].base_model"
