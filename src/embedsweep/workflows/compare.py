"""The leaderboard of a sweep: who scored what, how sure that is, and which models really differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from embedsweep.core.errors import UsageError, UserError
from embedsweep.core.finalists import Finalist, candidate_of, finalists
from embedsweep.core.ports import Ledger, OpenSweep
from embedsweep.core.promotion import PromotionPolicy
from embedsweep.core.recipe import BaselineRecipe, kept_among
from embedsweep.core.report import Measure
from embedsweep.core.trial import Completed, Role, Trial, best_trial
from embedsweep.evaluation import (
    Difference,
    UnitScores,
    mean_intervals,
    pairwise_differences,
    selection_optimism,
    unit_scores,
)
from embedsweep.workflows.losses import (
    Losses,
    barred,
    headline_scores,
    in_words,
    losses_of,
    shown_losses,
)

WORSE = "*"


@dataclass(frozen=True)
class Leaderboard:
    """A sweep's trials, baselines apart, and how sure their scores are.

    Attributes:
        experiment: The experiment's name.
        objective: What the sweep maximises.
        baselines, trials: The best first, those without a score last.
        finalists: Recipes run on further seeds, the best mean first.
        intervals: 95 % bootstrap interval of the objective's validation mean, by run id.
        differences: Every pair of completed trials and baselines, by their run ids.
        notes: Sentences about what is left out of intervals and differences.
        losses: Headline metrics in which a trial is significantly worse than its untuned model,
            by run id.
        policy: Says by its guards which losses are allowed.
    """

    experiment: str
    objective: Measure
    baselines: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    finalists: tuple[Finalist, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    losses: Losses = field(default_factory=dict)
    policy: PromotionPolicy = field(default_factory=PromotionPolicy)

    @property
    def best(self) -> Trial | None:
        """The best tuned trial; None if none completed."""
        return best_trial(list(self.trials), self.objective)

    @property
    def candidate(self) -> Trial | None:
        """What promotion would judge; None if no trial completed."""
        tried = [*self.trials, *self.repeats]
        return candidate_of(tried, self.objective, barred(self.losses, self.policy))

    @property
    def passed_over(self) -> Trial | None:
        """The trial that would be the candidate without its losses; `None` if it is."""
        first = candidate_of([*self.trials, *self.repeats], self.objective)
        return first if first != self.candidate else None

    @property
    def passed_over_in_words(self) -> str:
        """A clause on the candidate that names `passed_over`; empty if no trial was passed over."""
        first = self.passed_over
        if first is not None:
            lost = in_words(self.losses[first.run_id])
            return (
                f"; {self.names[first.run_id]} is passed over, because it is significantly worse "
                f"than the untuned model in {lost}"
            )
        candidate = self.candidate
        if candidate is None or candidate.run_id not in barred(self.losses, self.policy):
            return ""
        lost = in_words(self.losses[candidate.run_id])
        return (
            f"; it is significantly worse than the untuned model in {lost}, and every trial with a "
            "score has such a loss"
        )

    def mark(self, trial: Trial) -> str:
        """Return `WORSE` for a trial that is worse than its untuned model in another metric."""
        return WORSE if trial.run_id in self.losses else ""

    @property
    def losses_in_words(self) -> str:
        """What the marks of worse trials mean, and which trials have them; empty without any."""
        shown = shown_losses(self.losses, self.names)
        if not shown:
            return ""
        return (
            f"'{WORSE}': significantly worse than the untuned model in another headline metric "
            f"(one-sided, corrected over all trials and metrics): {shown}"
        )

    @property
    def repeats(self) -> tuple[Trial, ...]:
        """The finalists' runs on further seeds, by number."""
        found = (trial for finalist in self.finalists for trial in finalist.repeats)
        return tuple(sorted(found, key=lambda trial: trial.number))

    @cached_property
    def named(self) -> dict[str, Trial]:
        """Every trial by the name it is shown under, see `name_of`."""
        return {name_of(each): each for each in (*self.trials, *self.baselines, *self.repeats)}

    @cached_property
    def names(self) -> dict[str, str]:
        """The inverse of `named`, by run id."""
        return {trial.run_id: name for name, trial in self.named.items()}

    def difference(self, first: Trial, second: Trial) -> Difference | None:
        """Of the two trials, first minus second; None where they could not be paired."""
        return self._by_pair.get((first.run_id, second.run_id))

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], Difference]:
        turned = (
            Difference(each.second, each.first, -each.gain, each.p_value)
            for each in self.differences
        )
        return {(each.first, each.second): each for each in (*self.differences, *turned)}

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``compare --json`` prints."""
        names, candidate = self.names, self.candidate
        return {
            "experiment": self.experiment,
            "objective": str(self.objective),
            "direction": "maximize",
            "baselines": [self._row(trial) for trial in self.baselines],
            "trials": [self._row(trial) for trial in self.trials],
            "best": self.best.number if self.best else None,
            "candidate": names[candidate.run_id] if candidate else None,
            "passed_over": names[self.passed_over.run_id] if self.passed_over else None,
            "finalists": [self._finalist(each) for each in self.finalists],
            "differences": [
                {
                    "a": names[each.first],
                    "b": names[each.second],
                    "gain": each.gain,
                    "p_value": each.p_value,
                    "real": each.real,
                }
                for each in self.differences
            ],
            "notes": list(self.notes),
        }

    def _row(self, trial: Trial) -> dict[str, Any]:
        interval = self.intervals.get(trial.run_id)
        return {
            **trial.as_dict(),
            "interval": list(interval) if interval else None,
            "worse_in": [str(each.measure) for each in self.losses.get(trial.run_id, ())],
        }

    def _finalist(self, finalist: Finalist) -> dict[str, Any]:
        return {
            "of": self.names[finalist.trial.run_id],
            "mean": finalist.mean(self.objective),
            "deviation": finalist.deviation(self.objective),
            "numbers": [trial.number for trial in finalist.repeats],
            "repeats": [self._row(trial) for trial in finalist.repeats],
        }


def name_of(trial: Trial) -> str:
    """What people call it: ``t3`` for trial 3, ``b0`` for a baseline, ``f2`` for a finalist."""
    return f"{trial.role.value[0]}{trial.number}"


def known_sweep(ledger: Ledger, name: str) -> OpenSweep:
    """The newest sweep of an experiment; `UsageError` naming those there are if it has none."""
    sweep = ledger.latest(name)
    if sweep is None:
        names = ", ".join(ledger.names()) or "none"
        raise UsageError(
            f"experiment {name!r}",
            "the ledger",
            f"it has no sweep; experiments that have one: {names}",
            "run `embedsweep sweep EXPERIMENT.yaml` first",
        )
    return sweep


def leaderboard(ledger: Ledger, name: str, policy: PromotionPolicy | None = None) -> Leaderboard:
    """Return the leaderboard of an experiment's newest sweep.

    Args:
        ledger: Where the sweep is.
        name: Name of the experiment.
        policy: The experiment's; its guards decide which losses pass over a trial. `None` for
            the default.
    """
    sweep = known_sweep(ledger, name)
    objective = Measure.parse(sweep.objective)
    trials = sorted(ledger.trials(sweep), key=lambda trial: _order(trial, objective))
    read, notes = _read(ledger, trials, objective)
    names = {trial.run_id: name_of(trial) for trial in trials}
    scores, notes = _comparable({run: each.objective for run, each in read.items()}, names, notes)
    entered = {
        trial.run_id: scores[trial.run_id]
        for trial in trials
        if trial.run_id in scores and trial.role is not Role.FINALIST
    }
    intervals = mean_intervals(list(scores.values()))
    return Leaderboard(
        experiment=name,
        objective=objective,
        baselines=tuple(trial for trial in trials if trial.role is Role.BASELINE),
        trials=tuple(trial for trial in trials if trial.role is Role.TRIAL),
        finalists=tuple(finalists(trials, objective)),
        intervals=dict(zip(scores, intervals, strict=True)),
        differences=pairwise_differences(entered),
        notes=tuple(notes),
        losses=losses_of(trials, {run: each.headline for run, each in read.items()}, objective),
        policy=policy or PromotionPolicy(),
    )


def optimism_of(trials: Iterable[Trial], objective: Measure, ledger: Ledger) -> float | None:
    """How far the best trial's validation score may lie above its true value, having been picked.

    None where nothing shows it; see `selection_optimism`.
    """
    if not objective.has_scores:
        return None
    drawn = [trial for trial in trials if trial.role is Role.TRIAL]
    scored = [trial for trial in drawn if trial.score(objective) is not None]
    reports = [ledger.report(trial.run_id) for trial in scored]
    passed_over = sum(_measured_epochs(trial, objective, ledger) - 1 for trial in scored)
    return selection_optimism(reports, objective, passed_over)


def _measured_epochs(trial: Trial, objective: Measure, ledger: Ledger) -> int:
    """Of how many epochs one was kept."""
    if trial.kept_epoch is None or isinstance(trial.recipe, BaselineRecipe):
        return 1
    key, choice = objective.key("valid"), kept_among(trial.recipe)
    told = ledger.curves(trial.run_id, [key]).get(key, ())
    return max(1, sum(epoch in choice for epoch, _ in told))


def _order(trial: Trial, objective: Measure) -> tuple[float, int]:
    score = trial.score(objective)
    return (float("inf") if score is None else -score, trial.number)


@dataclass(frozen=True)
class _Read:
    """What the tests need of a report: of many large ones only the sums by unit are kept."""

    objective: UnitScores
    headline: Mapping[Measure, UnitScores]


def _read(
    ledger: Ledger, trials: Iterable[Trial], objective: Measure
) -> tuple[dict[str, _Read], list[str]]:
    """Read the reports of the completed trials, by run id, and why some are left out."""
    if not objective.has_scores:
        return {}, [f"{objective} has no score per example: no interval, and no pair can be tested"]
    read: dict[str, _Read] = {}
    notes: list[str] = []
    for trial in trials:
        if not isinstance(trial.outcome, Completed):
            continue
        try:
            report = ledger.report(trial.run_id)
            scores = unit_scores(report, objective)
            read[trial.run_id] = _Read(scores, headline_scores(report, objective))
        except UserError as error:
            notes.append(
                f"{name_of(trial)} is left out of intervals and pairs: {error.faults[0].why}"
            )
    return read, notes


def _comparable(
    scores: Mapping[str, UnitScores], names: Mapping[str, str], notes: Sequence[str]
) -> tuple[dict[str, UnitScores], list[str]]:
    """Those that most others can be paired with, where two units at least show a spread."""
    told = list(notes)
    if not scores:
        return {}, told
    (usual, _), *_ = Counter(each.identity for each in scores.values()).most_common(1)
    kept = {run_id: each for run_id, each in scores.items() if each.identity == usual}
    others = ", ".join(names[run_id] for run_id in scores if run_id not in kept)
    if others:
        told.append(
            f"measured on another validation split than the rest, and left out of intervals and "
            f"pairs: {others}"
        )
    if len(next(iter(kept.values())).sizes) < 2:
        told.append("the validation split is a single group: no interval, no pair can be tested")
        return {}, told
    return kept, told
