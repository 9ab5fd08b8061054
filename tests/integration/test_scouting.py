"""A sweep that scouts begins with what did best on frozen vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from embedsweep.core.experiment import Experiment, Sampler
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, LocalRecipe, Recipe
from embedsweep.core.scouts import TAKEN, head_rate, scout_of
from embedsweep.core.trial import Role, TrialFailure
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import run_sweep
from embedsweep.workflows.sweep.scouting import SCOUTS_FILE
from tests.integration.table_backend import TableBackend, TableEmbedder
from tests.integration.table_story import DATASET, experiment, services_of

SCOUTS = 8
BEST = head_rate(1e-4)
"""The rate at which the heads of these tests are best."""


@dataclass
class TableHeads(TableBackend):
    """Heads that are the better, the nearer their rate is to `BEST`; fulfils `core.ports.Backend`.

    Attributes:
        before_scout: Called with each recipe; what it raises is what training raises.
    """

    before_scout: Callable[[AdapterRecipe], None] = lambda recipe: None
    scouted: list[AdapterRecipe] = field(default_factory=list)

    def train(
        self, recipe: Recipe, data: object, folder: Path | None, listener: TrainingListener
    ) -> None:
        assert isinstance(recipe, AdapterRecipe)
        self.before_scout(recipe)
        apart = max(recipe.learning_rate / BEST, BEST / recipe.learning_rate)
        for epoch in range(1, recipe.epochs + 1):
            embedder = TableEmbedder(noise=0.5 + apart / 20)
            listener.on_epoch(EpochEnd(epoch, {}, embedder, lambda folder: None))
        self.scouted.append(recipe)


@pytest.fixture
def local() -> TableBackend:
    return TableBackend()


@pytest.fixture
def heads() -> TableHeads:
    return TableHeads()


@pytest.fixture
def services(tmp_path: Path, local: TableBackend, heads: TableHeads) -> Services:
    services = services_of(tmp_path, local)
    return replace(services, backends={"local": local, "adapter": heads})


def scouting(**changes: object) -> Experiment:
    return experiment(trials=12, **{"scouts": SCOUTS, **changes})


def first_recipes(local: TableBackend, count: int = TAKEN) -> list[Recipe]:
    return local.trained[:count]


def kept(services: Services) -> list[dict[str, Any]]:
    assert isinstance(services.ledger, MemoryLedger)
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    found: list[dict[str, Any]] = json.loads(services.ledger.attached[sweep.run_id, SCOUTS_FILE])
    return found


def test_the_best_scouts_recipes_are_the_first_trials(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    run_sweep(scouting(), DATASET, services)
    assert len(heads.scouted) == SCOUTS
    scouts = kept(services)
    assert len(scouts) == SCOUTS
    best = sorted(scouts, key=lambda scout: -scout["score"])[:TAKEN]
    rates = [recipe.learning_rate for recipe in map(scout_of, first_recipes(local))]
    assert rates == [scout["scout"]["learning_rate"] for scout in best]
    nearest = sorted(heads.scouted, key=lambda recipe: abs(1 - recipe.learning_rate / BEST))
    assert rates[0] in [recipe.learning_rate for recipe in nearest[:2]]
    assert len(local.trained) == 12


def test_control_without_scouts_they_are_others(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    run_sweep(scouting(), DATASET, services)
    led, local.trained = first_recipes(local), []
    run_sweep(scouting(scouts=None, name="unled"), DATASET, services)
    assert len(heads.scouted) == SCOUTS
    assert first_recipes(local) != led


def test_behind_the_scouts_trials_stay_spread(services: Services, local: TableBackend) -> None:
    run_sweep(scouting(), DATASET, services)
    led = local.trained[:4]
    local.trained = []
    run_sweep(scouting(scouts=None, name="unled"), DATASET, services)
    assert led[TAKEN] == local.trained[TAKEN]


def test_random_trials_are_led_by_one_scout(services: Services, local: TableBackend) -> None:
    run_sweep(scouting(sampler=Sampler.RANDOM), DATASET, services)
    best = max(kept(services), key=lambda scout: scout["score"])
    assert scout_of(first_recipes(local)[0]).learning_rate == best["scout"]["learning_rate"]


def test_failed_scouts_lead_nowhere(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def fail_near_the_best(recipe: AdapterRecipe) -> None:
        if BEST / 10 < recipe.learning_rate < BEST * 10:
            raise TrialFailure("non_finite_loss", "the training loss became nan")

    heads.before_scout = fail_near_the_best
    run_sweep(scouting(), DATASET, services)
    failed = [scout for scout in kept(services) if scout["score"] is None]
    assert 0 < len(failed) < SCOUTS
    rates = [scout_of(recipe).learning_rate for recipe in first_recipes(local)]
    assert not any(BEST / 10 < rate < BEST * 10 for rate in rates)


def test_where_all_fail_the_sweep_begins_as_without_them(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def fail(recipe: AdapterRecipe) -> None:
        raise TrialFailure("non_finite_loss", "the training loss became nan")

    heads.before_scout = fail
    run_sweep(scouting(), DATASET, services)
    led, local.trained = first_recipes(local), []
    run_sweep(scouting(scouts=None, name="unled"), DATASET, services)
    assert first_recipes(local) == led


def test_a_sweep_taken_up_again_does_not_scout_again(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def interrupt_the_second(recipe: LocalRecipe) -> None:
        if len(local.trained) == 1:
            raise KeyboardInterrupt

    local.before_training = interrupt_the_second
    with pytest.raises(KeyboardInterrupt):
        run_sweep(scouting(), DATASET, services)
    local.before_training = lambda recipe: None
    run_sweep(scouting(), DATASET, services)
    assert len(heads.scouted) == SCOUTS
    best = sorted(kept(services), key=lambda scout: -scout["score"])[:TAKEN]
    # The interrupted one comes after those that were waiting behind it.
    rates = [scout_of(recipe).learning_rate for recipe in local.trained[: TAKEN + 1]]
    assert {scout["scout"]["learning_rate"] for scout in best} < set(rates)


def test_interrupted_scouting_is_done_again_whole(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def interrupt_the_third(recipe: AdapterRecipe) -> None:
        if len(heads.scouted) == 2:
            raise KeyboardInterrupt

    heads.before_scout = interrupt_the_third
    with pytest.raises(KeyboardInterrupt):
        run_sweep(scouting(), DATASET, services)
    assert local.trained == []
    heads.before_scout = lambda recipe: None
    run_sweep(scouting(), DATASET, services)
    assert len(kept(services)) == SCOUTS
    assert len(local.trained) == 12


def test_scouts_are_no_trials(services: Services) -> None:
    sweep = run_sweep(scouting(), DATASET, services)
    trials = services.ledger.trials(sweep)
    assert sum(trial.role is Role.TRIAL for trial in trials) == 12
    assert {trial.recipe.kind for trial in trials} == {"local", "baseline"}
