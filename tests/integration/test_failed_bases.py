"""A base model that cannot embed the data stops its arms, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedsweep.core.errors import DataError
from embedsweep.core.ports import FloatArray
from embedsweep.core.recipe import Base
from embedsweep.core.roles import TextRole
from embedsweep.core.space import Arm, Choice, SearchSpace
from embedsweep.core.trial import Role
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.services import Services, Silent
from embedsweep.workflows.sweep import run_sweep
from tests.integration.table_backend import TableBackend, TableEmbedder
from tests.integration.table_story import DATASET, experiment, services_of


class Broken(TableEmbedder):
    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        raise IndexError("index out of range in self")


class Collapsed(TableEmbedder):
    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        return np.full((len(texts), self.dimension), self.dimension**-0.5, dtype=np.float32)


class OneIsBroken(TableBackend):
    """The untuned model called ``broken`` cannot embed; ``collapsed`` only collapses."""

    def untuned(self, base: Base, folder: Path) -> None:
        super().untuned(base, folder)
        (folder / "base.txt").write_text(base.model)

    def open(self, folder: Path) -> TableEmbedder:
        known = {"broken": Broken, "collapsed": Collapsed}
        name = folder / "base.txt"
        kind = known.get(name.read_text(), TableEmbedder) if name.exists() else TableEmbedder
        return kind(super().open(folder).noise)


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def backend() -> OneIsBroken:
    return OneIsBroken()


@pytest.fixture
def said() -> Said:
    return Said()


@pytest.fixture
def services(tmp_path: Path, backend: OneIsBroken, said: Said) -> Services:
    return replace(services_of(tmp_path, backend), progress=said)


def space(*bases: tuple[str, ...]) -> SearchSpace:
    (plain,) = experiment().space.arms
    return SearchSpace(
        tuple(
            Arm(f"on-{'-'.join(names)}", "local", {**plain.knobs, "base_model": Choice(names)})
            for names in bases
        ),
        seed=7,
    )


@pytest.mark.parametrize("bases", [(("broken",), ("table",)), (("broken", "table"),)])
def test_other_base_models_are_tried_and_the_arm_that_is_not_is_named_once(
    services: Services, backend: OneIsBroken, said: Said, bases: tuple[tuple[str, ...], ...]
) -> None:
    sweep = run_sweep(experiment(space=space(*bases)), DATASET, services)
    drawn = [trial for trial in services.ledger.trials(sweep) if trial.role is Role.TRIAL]
    assert len(drawn) == 6
    assert {trial.recipe.base for trial in drawn} == {Base("table")}
    assert {each.base for each in backend.trained} == {Base("table")}
    told = [line for line in said.lines if "no recipe of it is tried" in line]
    assert told == [
        "broken cannot embed the data untuned (IndexError: index out of range in self): "
        f"no recipe of it is tried (arm on-{'-'.join(bases[0])})"
    ]


def test_where_no_base_is_left_the_sweep_ends_before_a_trial(
    services: Services, backend: OneIsBroken
) -> None:
    with pytest.raises(DataError, match=r"base model 'broken' in topics\.yaml: it cannot embed"):
        run_sweep(experiment(space=space(("broken",))), DATASET, services)
    assert backend.trained == []
    assert isinstance(services.ledger, MemoryLedger)
    assert "FAILED" in services.ledger.status.values()


def test_taken_up_again_it_is_neither_tried_nor_forgotten(
    services: Services, backend: OneIsBroken, said: Said
) -> None:
    both = space(("broken",), ("table",))
    run_sweep(experiment(space=both, trials=3), DATASET, services)
    run_sweep(experiment(space=both, trials=6), DATASET, services)
    assert {each.base for each in backend.trained} == {Base("table")}
    assert len(backend.trained) == 6


def test_control_a_base_that_only_collapses_may_be_trained(
    services: Services, backend: OneIsBroken
) -> None:
    run_sweep(experiment(space=space(("collapsed",))), DATASET, services)
    assert len(backend.trained) == 6
