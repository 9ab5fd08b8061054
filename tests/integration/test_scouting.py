"""A sweep that scouts begins with what did best on frozen vectors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from embedsweep.core.experiment import Experiment, Sampler
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, LocalRecipe, Recipe
from embedsweep.core.scouts import head_rate, scout_of
from embedsweep.core.space import Arm, Choice, SearchSpace, Uniform
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
            save = partial(self._save, embedder.noise)
            listener.on_epoch(EpochEnd(epoch, {}, embedder, save))
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


RATES = Choice((1e-5, 1e-4))
STARTUP = 4
"""Trials before the sampler decides, of twelve."""


def first_rates(local: TableBackend) -> list[float]:
    """Of the first trials, as their scouts have them."""
    return [scout_of(recipe).learning_rate for recipe in local.trained[:STARTUP]]


def best_rates(services: Services) -> list[float]:
    """Of the scouts, the best first."""
    scored = [scout for scout in kept(services) if scout["score"] is not None]
    return [
        scout["scout"]["learning_rate"] for scout in sorted(scored, key=lambda row: -row["score"])
    ]


def kept(services: Services) -> list[dict[str, Any]]:
    assert isinstance(services.ledger, MemoryLedger)
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    found: list[dict[str, Any]] = json.loads(services.ledger.attached[sweep.run_id, SCOUTS_FILE])
    return found


def test_the_best_scouts_recipes_are_among_the_first_trials(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    run_sweep(scouting(), DATASET, services)
    assert len(heads.scouted) == len(kept(services)) == SCOUTS
    assert first_rates(local)[::2] == best_rates(services)[:2]
    nearest = sorted(heads.scouted, key=lambda recipe: abs(1 - recipe.learning_rate / BEST))
    assert first_rates(local)[0] in [recipe.learning_rate for recipe in nearest[:2]]
    assert len(local.trained) == 12


def test_between_them_trials_stay_spread(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    run_sweep(scouting(), DATASET, services)
    led, local.trained = first_rates(local), []
    run_sweep(scouting(scouts=None, name="unled"), DATASET, services)
    assert len(heads.scouted) == SCOUTS
    assert led[1::2] == first_rates(local)[1::2]
    # The control: without scouts the others are not theirs.
    assert led[::2] != first_rates(local)[::2]


def test_random_trials_are_led_by_one_scout(services: Services, local: TableBackend) -> None:
    run_sweep(scouting(sampler=Sampler.RANDOM), DATASET, services)
    assert first_rates(local)[0] == best_rates(services)[0]
    assert first_rates(local)[2] not in best_rates(services)


def test_failed_scouts_lead_nowhere(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def fail_near_the_best(recipe: AdapterRecipe) -> None:
        if BEST / 10 < recipe.learning_rate < BEST * 10:
            raise TrialFailure("non_finite_loss", "the training loss became nan")

    heads.before_scout = fail_near_the_best
    run_sweep(scouting(), DATASET, services)
    assert 0 < len(best_rates(services)) < len(kept(services)) == SCOUTS
    assert first_rates(local)[::2] == best_rates(services)[:2]


def test_where_all_fail_the_sweep_begins_as_without_them(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    def fail(recipe: AdapterRecipe) -> None:
        raise TrialFailure("non_finite_loss", "the training loss became nan")

    heads.before_scout = fail
    run_sweep(scouting(), DATASET, services)
    led, local.trained = first_rates(local), []
    run_sweep(scouting(scouts=None, name="unled"), DATASET, services)
    assert first_rates(local) == led


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
    # The interrupted one comes after those that were waiting behind it.
    assert set(best_rates(services)[:2]) < set(first_rates(local))


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


HEADS = Arm(
    "heads",
    "adapter",
    {
        "base_model": Choice(("table",)),
        "head": Choice(("linear",)),
        "loss": Choice(("cosent",)),
        "epochs": Choice((1,)),
        "learning_rate": Uniform(1e-4, 1e-2, log=True),
        "batch_size": Choice((8,)),
    },
)


def test_they_scout_for_local_arms_beside_others(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    arms = (*experiment().space.arms, HEADS)
    run_sweep(scouting(space=SearchSpace(arms, seed=7)), DATASET, services)
    assert {scout["arm"] for scout in kept(services)} == {"local"}
    assert len(kept(services)) == SCOUTS
    assert first_rates(local)[0] == best_rates(services)[0]
    # The other arm has its turns, as without scouts.
    assert len(heads.scouted) > SCOUTS


def test_no_recipe_of_a_small_space_is_scouted_twice(
    services: Services, local: TableBackend, heads: TableHeads
) -> None:
    (arm,) = experiment().space.arms
    few = replace(arm, knobs={**arm.knobs, "epochs": Choice((1,)), "learning_rate": RATES})
    run_sweep(scouting(space=SearchSpace((few,), seed=7)), DATASET, services)
    assert len(heads.scouted) == 4
    assert len(set(heads.scouted)) == 4


def test_scouts_are_no_trials(services: Services) -> None:
    sweep = run_sweep(scouting(), DATASET, services)
    trials = services.ledger.trials(sweep)
    assert sum(trial.role is Role.TRIAL for trial in trials) == 12
    assert {trial.recipe.kind for trial in trials} == {"local", "baseline"}
