"""Finalists: a recipe is worth what it gives on seeds that nobody picked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embedsweep.core.finalists import candidate_of, finalists, seeded
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.core.report import Measure
from embedsweep.core.trial import Completed, Failed, Outcome, Role, Trial

MRR = Measure("mrr", 10)
RECIPE = LocalRecipe(
    base_model="m", loss=Loss.TRIPLET, epochs=1, learning_rate=1e-4, batch_size=8, seed=7
)


def trial(
    number: int, score: float, role: Role, rate: float, outcome: Outcome | None = None
) -> Trial:
    recipe = replace(RECIPE, learning_rate=rate)
    drawn = seeded(recipe, number + 1) if role is Role.FINALIST else recipe
    return Trial(
        number=number,
        role=role,
        arm="local",
        recipe=drawn,
        fingerprint=f"{role} {number}",
        outcome=outcome or Completed(),
        metrics={MRR.key("valid"): score},
        model_reference="m",
    )


LUCKY, SOUND = 1e-4, 2e-4
TRIALS = [trial(0, 0.9, Role.TRIAL, LUCKY), trial(1, 0.8, Role.TRIAL, SOUND)]
REPEATS = [
    trial(0, 0.70, Role.FINALIST, LUCKY),
    trial(1, 0.79, Role.FINALIST, SOUND),
    trial(2, 0.74, Role.FINALIST, LUCKY),
    trial(3, 0.77, Role.FINALIST, SOUND),
    trial(4, 0.72, Role.FINALIST, LUCKY),
    trial(5, 0.81, Role.FINALIST, SOUND),
]


def test_the_better_mean_wins_over_the_luckier_first_seed() -> None:
    first, second = finalists([*TRIALS, *REPEATS], MRR)
    assert (first.trial.number, second.trial.number) == (1, 0)
    assert first.mean(MRR) == pytest.approx(0.79)
    assert first.deviation(MRR) == pytest.approx(0.02)
    assert [each.number for each in first.repeats] == [1, 3, 5]
    candidate = candidate_of([*TRIALS, *REPEATS], MRR)
    assert candidate is not None
    assert (candidate.role, candidate.number) == (Role.FINALIST, 1)  # the seed in the middle


def test_without_finalists_the_best_trial_is_the_candidate() -> None:
    assert candidate_of(TRIALS, MRR) == TRIALS[0]
    assert finalists(TRIALS, MRR) == []
    assert candidate_of([], MRR) is None


def named(trials: list[Trial]) -> list[Trial]:
    return [replace(each, run_id=each.fingerprint) for each in trials]


def test_a_barred_trial_is_passed_over_unless_all_are_barred() -> None:
    first, second = named(TRIALS)
    assert candidate_of([first, second], MRR, {first.run_id}) == second
    assert candidate_of([first, second], MRR, {second.run_id}) == first
    assert candidate_of([first, second], MRR, {first.run_id, second.run_id}) == first
    assert candidate_of([], MRR, {first.run_id}) is None


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ({"finalist 1"}, "finalist 4"),
        ({"finalist 4"}, "finalist 1"),
        ({"finalist 1", "finalist 4"}, "trial 0"),
        ({"finalist 1", "finalist 4", "trial 0"}, "trial 1"),
        ({"finalist 1", "finalist 4", "trial 0", "trial 1"}, "finalist 1"),
    ],
)
def test_a_barred_finalist_leaves_the_place_to_the_next(out: set[str], expected: str) -> None:
    found = candidate_of(named([*TRIALS, *REPEATS]), MRR, out)
    assert found is not None
    assert found.run_id == expected


def test_a_recipe_that_fails_on_a_seed_ranks_last() -> None:
    broken = trial(5, 0.99, Role.FINALIST, SOUND, Failed("collapsed", "all alike"))
    first, second = finalists([*TRIALS, *REPEATS[:5], broken], MRR)
    assert (first.trial.number, second.trial.number) == (0, 1)
    assert second.mean(MRR) is None
    everything_broken = [replace(each, outcome=broken.outcome) for each in REPEATS]
    assert candidate_of([*TRIALS, *everything_broken], MRR) == TRIALS[0]


def test_of_two_seeds_the_lower_one_is_in_the_middle() -> None:
    [only] = finalists([TRIALS[0], *REPEATS[:1], REPEATS[2]], MRR)
    assert only.median(MRR).number == 0
    [single] = finalists([TRIALS[0], REPEATS[0]], MRR)
    assert single.deviation(MRR) is None


def test_seeds_are_new_and_the_same_again() -> None:
    seeds = [seeded(RECIPE, repeat) for repeat in range(1, 50)]
    assert len({each.seed for each in (*seeds, RECIPE)}) == 50
    assert seeds == [seeded(RECIPE, repeat) for repeat in range(1, 50)]
    assert {replace(each, seed=7) for each in seeds} == {RECIPE}
