"""Which knobs mattered: those that did, and none where nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from math import log10

import pytest

from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.space import Arm, Choice
from embedsweep.core.trial import Failed, Role, Trial
from embedsweep.workflows.sweep.importance import FEWEST_TRIALS, importances
from tests.unit.sweep_findings import ARMS, KEY, NDCG, local, trial


def scored(number: int) -> Trial:
    """The nearer the learning rate to 1e-4, the better; nothing else matters."""
    made = trial(number * 2)
    recipe = local(number)
    return replace(made, recipe=recipe, metrics={KEY: 1 - abs(log10(recipe.learning_rate) + 4) / 9})


def test_the_knob_that_decides_has_the_greatest_share() -> None:
    (found,) = importances(ARMS[:1], [scored(number) for number in range(80)], NDCG)
    assert found.reason == ""
    assert found.trials == 80
    assert set(found.shares) <= {"loss", "epochs", "learning_rate", "margin"}
    assert max(found.shares, key=lambda name: found.shares[name]) == "learning_rate"
    assert found.shares["learning_rate"] > 0.6
    assert sum(found.shares.values()) == pytest.approx(1.0)


def test_the_same_trials_give_the_same_shares() -> None:
    trials = [scored(number) for number in range(30)]
    assert importances(ARMS[:1], trials, NDCG) == importances(ARMS[:1], trials, NDCG)


@pytest.mark.parametrize("count", [0, 1, FEWEST_TRIALS - 1])
def test_few_trials_tell_nothing_and_the_reason_says_so(count: int) -> None:
    (found,) = importances(ARMS[:1], [scored(number) for number in range(count)], NDCG)
    assert found.shares == {}
    assert f"{count} completed trials; at least {FEWEST_TRIALS}" in found.reason


def test_only_completed_trials_of_the_arm_count() -> None:
    good = [scored(number) for number in range(FEWEST_TRIALS - 1)]
    failed = trial(40, outcome=Failed("collapsed", "all are equal"))
    other = replace(scored(50), arm="adapter")
    repeat = replace(scored(51), role=Role.FINALIST)
    (found,) = importances(ARMS[:1], [*good, failed, other, repeat], NDCG)
    assert found.trials == FEWEST_TRIALS - 1
    assert found.reason


def test_without_a_varying_knob_or_a_difference_there_is_nothing_to_share() -> None:
    fixed = Arm("local", "local", {"loss": Choice(("cosent",))})
    assert importances([fixed], [], NDCG)[0].reason == "no knob varies."
    equal = [replace(scored(number), metrics={KEY: 0.5}) for number in range(30)]
    assert importances(ARMS[:1], equal, NDCG)[0].reason == "all trials score alike."


def test_the_recipes_of_the_test_vary() -> None:
    rates = {local(number).learning_rate for number in range(80)}
    assert len(rates) > 40
    assert all(isinstance(scored(number).recipe, LocalRecipe) for number in range(3))
