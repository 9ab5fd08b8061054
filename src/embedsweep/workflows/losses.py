"""Which trials of a sweep are significantly worse than their untuned model in another metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from embedsweep.core.errors import UserError
from embedsweep.core.ports import Ledger
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.recipe import BaselineRecipe
from embedsweep.core.report import Measure, Report, headline_measures
from embedsweep.core.trial import Completed, Role, Trial, best_trial
from embedsweep.evaluation import Loss, UnitScores, significant_losses, unit_scores

SHOWN_TRIALS = 10

Scores = Mapping[Measure, UnitScores]
"""Scores of one trial by metric."""

Losses = Mapping[str, tuple[Loss, ...]]
"""Losses of the trials that have any, by run id."""


def headline_scores(report: Report, objective: Measure) -> dict[Measure, UnitScores]:
    """Return what the tests need of a report: the sums by unit of each headline metric."""
    measures = headline_measures(report.scores.keys(), objective)
    return {measure: unit_scores(report, measure) for measure in measures}


def untuned_of(trial: Trial, baselines: Sequence[Trial], objective: Measure) -> Trial | None:
    """Return the untuned model that a trial is compared with.

    It is the untuned model of the trial's own base. If the sweep has no result for that base, it
    is the untuned model with the highest objective; `None` if no baseline completed.
    """
    untuned = [
        each
        for each in baselines
        if isinstance(each.outcome, Completed)
        and isinstance(each.recipe, BaselineRecipe)
        and each.recipe.base is not None
    ]
    own = [each for each in untuned if each.recipe.base == trial.recipe.base]
    return next(iter(own), None) or best_trial(untuned, objective)


def losses_of(trials: Sequence[Trial], scores: Mapping[str, Scores], objective: Measure) -> Losses:
    """Test every trial and finalist against its untuned model.

    Args:
        trials: All trials of the sweep, baselines among them.
        scores: `headline_scores` by run id; trials without are not tested.
        objective: The sweep's objective.
    """
    baselines = [each for each in trials if each.role is Role.BASELINE and each.run_id in scores]
    tuned: dict[str, Scores] = {}
    references: dict[str, Scores] = {}
    for trial in trials:
        untuned = untuned_of(trial, baselines, objective)
        if trial.role is not Role.BASELINE and trial.run_id in scores and untuned is not None:
            tuned[trial.run_id] = scores[trial.run_id]
            references[trial.run_id] = scores[untuned.run_id]
    measures = dict.fromkeys(measure for each in tuned.values() for measure in each)
    return significant_losses(tuned, references, tuple(measures))


def read_losses(ledger: Ledger, trials: Sequence[Trial], objective: Measure) -> Losses:
    """Read the reports of a sweep's completed trials and return `losses_of` them."""
    scores = {}
    for trial in trials:
        if isinstance(trial.outcome, Completed):
            try:
                scores[trial.run_id] = headline_scores(ledger.report(trial.run_id), objective)
            except UserError:
                # A trial without a readable report is not tested; `compare` says so.
                continue
    return losses_of(trials, scores, objective)


class LossWatch:
    """Tests each trial of a running sweep as it ends, alone.

    Args:
        ledger: The run store of the sweep.
        objective: The sweep's objective.
    """

    def __init__(self, ledger: Ledger, objective: Measure) -> None:
        self._ledger = ledger
        self._objective = objective
        self._untuned: dict[str, Scores] = {}

    def of(self, trial: Trial, trials: Sequence[Trial]) -> Sequence[Loss]:
        """Return the trial's losses, corrected over its metrics and not over the other trials.

        Args:
            trial: The trial that ended.
            trials: All trials of the sweep so far, baselines among them.
        """
        if trial.role is Role.BASELINE or not isinstance(trial.outcome, Completed):
            return ()
        baselines = [each for each in trials if each.role is Role.BASELINE]
        untuned = untuned_of(trial, baselines, self._objective)
        if untuned is None:
            return ()
        try:
            if untuned.run_id not in self._untuned:
                self._untuned[untuned.run_id] = self._scores(untuned)
            scores = {
                untuned.run_id: self._untuned[untuned.run_id],
                trial.run_id: self._scores(trial),
            }
        except UserError:
            # The leaderboard names the trial whose report cannot be read.
            return ()
        return losses_of([untuned, trial], scores, self._objective).get(trial.run_id, ())

    def _scores(self, trial: Trial) -> Scores:
        return headline_scores(self._ledger.report(trial.run_id), self._objective)


def barred(losses: Losses, policy: PromotionPolicy) -> Collection[str]:
    """Return the run ids of the trials with a loss that no guard allows."""
    return {
        run_id
        for run_id, found in losses.items()
        if not all(policy.allows(each.measure, each.gain) for each in found)
    }


def shown_losses(losses: Losses, names: Mapping[str, str]) -> str:
    """Return the losses of a sweep as one line, the first `SHOWN_TRIALS` trials by name.

    Args:
        losses: By run id.
        names: Names of the trials by run id, in the order to show them.
    """
    rows = [f"{name} in {in_words(losses[run])}" for run, name in names.items() if run in losses]
    more = len(rows) - SHOWN_TRIALS
    return "; ".join([*rows[:SHOWN_TRIALS], *([f"and {more} more"] if more > 0 else [])])


def in_words(losses: Sequence[Loss]) -> str:
    """Return the losses of one trial as text, such as ``mrr@10 (-0.1980)``."""
    return ", ".join(f"{each.measure} ({each.gain:+.4f})" for each in losses)
