"""Guards of the experiment file: a number, or off."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep.config import experiment_schema, load_experiment
from embedsweep.core.errors import UsageError
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.report import Measure

MRR = Measure("mrr", 10)


def policy(folder: Path, guard: str) -> PromotionPolicy:
    path = folder / "experiment.yaml"
    path.write_text(
        "name: small\n"
        "data: {builtin: python-docs}\n"
        "objective: ndcg@10\n"
        "guards:\n"
        f"  mrr@10: {guard}\n"
        "search: {trials: 1, arms: [{backend: local, base_model: m}]}\n"
    )
    return load_experiment(path).policy


@pytest.mark.parametrize("guard", ["off", "Off", "OFF", '"off"', "false", "False", "FALSE"])
def test_off_allows_any_loss_however_yaml_reads_it(tmp_path: Path, guard: str) -> None:
    found = policy(tmp_path, guard)
    assert (found.guards, found.unguarded) == ({}, {MRR})
    assert found.allows(MRR, -1.0)


@pytest.mark.parametrize(("guard", "bound"), [("-0.01", -0.01), ("0", 0.0), ('"-1e-2"', -0.01)])
def test_a_number_is_the_largest_loss_allowed(tmp_path: Path, guard: str, bound: float) -> None:
    found = policy(tmp_path, guard)
    assert (found.guards, found.unguarded) == ({MRR: bound}, frozenset())


@pytest.mark.parametrize(
    ("guard", "why", "fix"),
    [
        ("no", '"no", expected a number from -1 to 0, or off', "write off to allow any loss"),
        ("on", '"on", expected a number from -1 to 0, or off', "such as -0.01"),
        ("true", "true, expected a number from -1 to 0, or off", "write off"),
        ("", "no value, expected a number from -1 to 0, or off", "write off"),
        ("[off]", '["off"], expected a number', "write off"),
        ("-.inf", "expected a finite number", "such as"),
        ("-2", "expected at least -1", "write -1"),
        ("0.01", "expected at most 0", "write 0"),
    ],
)
def test_any_other_guard_is_an_error_that_names_both(
    tmp_path: Path, guard: str, why: str, fix: str
) -> None:
    with pytest.raises(UsageError) as error:
        policy(tmp_path, guard)
    (fault,) = error.value.faults
    assert (fault.what, fault.line) == ("guards.mrr@10", 5)
    assert why in fault.why
    assert fix in fault.fix


def test_the_schema_knows_off() -> None:
    values = experiment_schema()["properties"]["guards"]["additionalProperties"]
    assert values["anyOf"][0] == {"type": "number", "minimum": -1, "maximum": 0}
    assert values["anyOf"][1] == {"enum": ["off", False]}
