"""The recipes of the best trials, trained again on further seeds, so that luck in one wins nothing.

The score that made a trial a finalist was picked for being high, and is too high by the luck of
its seed. The further seeds were picked by nobody: their mean is what the recipe is worth.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.recipe import BaselineRecipe, Recipe
from embedsweep.core.report import Measure
from embedsweep.core.trial import Role, Trial, best_trial


@dataclass(frozen=True, slots=True)
class FinalistPlan:
    """How many of the best trials are trained again, and how often.

    Attributes:
        top: Trials, best first.
        seeds: Further seeds of each.
    """

    top: int
    seeds: int


@dataclass(frozen=True)
class Finalist:
    """A recipe on several seeds.

    Attributes:
        trial: The trial it was drawn for.
        repeats: The same recipe on further seeds, by number, ended after the epoch kept of the
            trial: to choose an epoch anew on each seed would make their scores too high again.
    """

    trial: Trial
    repeats: tuple[Trial, ...]

    def scores(self, objective: Measure) -> list[float] | None:
        """The repeats' scores on the validation split; None unless every one of them completed."""
        found = [score for each in self.repeats if (score := each.score(objective)) is not None]
        return found if len(found) == len(self.repeats) else None

    def mean(self, objective: Measure) -> float | None:
        """Of `scores`; the trial's own score takes no part."""
        scores = self.scores(objective)
        return fmean(scores) if scores else None

    def deviation(self, objective: Measure) -> float | None:
        """Standard deviation of `scores` from seed to seed; None below two."""
        scores = self.scores(objective)
        return stdev(scores) if scores and len(scores) > 1 else None

    def median(self, objective: Measure) -> Trial:
        """The repeat in the middle, the lower one of two: what the recipe usually gives."""
        ranked = sorted(self.repeats, key=lambda each: each.score(objective) or 0.0)
        return ranked[(len(ranked) - 1) // 2]


def seeded(recipe: Recipe, repeat: int) -> Recipe:
    """The recipe on another seed: the same one for the same repeat, from 1, of the same recipe."""
    if isinstance(recipe, BaselineRecipe):
        return recipe
    return replace(recipe, seed=int(fingerprint(recipe.seed, repeat)[:7], 16))


def finalists(trials: Sequence[Trial], objective: Measure) -> list[Finalist]:
    """The finalists among a sweep's trials, the best mean first, those with a failure last."""
    repeats: dict[Recipe, list[Trial]] = {}
    for trial in trials:
        if trial.role is Role.FINALIST:
            repeats.setdefault(_seedless(trial.recipe), []).append(trial)
    found = []
    for trial in trials:
        if trial.role is Role.TRIAL and (mine := repeats.pop(_seedless(trial.recipe_kept), None)):
            found.append(Finalist(trial, tuple(sorted(mine, key=lambda each: each.number))))
    return sorted(found, key=lambda each: (-(each.mean(objective) or 0.0), each.trial.number))


def candidate_of(
    trials: Sequence[Trial], objective: Measure, barred: Collection[str] = ()
) -> Trial | None:
    """Return the trial to promote: the best finalist's median seed, or else the best trial.

    Args:
        trials: All trials of the sweep.
        objective: The sweep's objective.
        barred: Run ids of trials that are passed over. If every trial with a score is barred,
            none is passed over: the test split decides.
    """
    for finalist in finalists(trials, objective):
        if finalist.mean(objective) is not None:
            median = finalist.median(objective)
            if median.run_id not in barred:
                return median
    left = [trial for trial in trials if trial.run_id not in barred]
    found = best_trial(left, objective, Role.TRIAL)
    return found or (candidate_of(trials, objective) if barred else None)


def _seedless(recipe: Recipe) -> Recipe:
    return recipe if isinstance(recipe, BaselineRecipe) else replace(recipe, seed=0)
