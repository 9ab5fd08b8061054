"""The leaderboard of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedsweep.core.errors import UsageError
from embedsweep.core.ports import Ledger, OpenSweep
from embedsweep.core.report import Measure
from embedsweep.core.trial import Role, Trial, best_trial


@dataclass(frozen=True)
class Leaderboard:
    """A sweep's trials, baselines apart.

    Attributes:
        experiment: The experiment's name.
        objective: What the sweep maximises.
        baselines, trials: The best first, those without a score last.
    """

    experiment: str
    objective: Measure
    baselines: tuple[Trial, ...]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The best tuned trial; None if none completed."""
        return best_trial(list(self.trials), self.objective)

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``compare --json`` prints."""
        return {
            "experiment": self.experiment,
            "objective": str(self.objective),
            "direction": "maximize",
            "baselines": [trial.as_dict() for trial in self.baselines],
            "trials": [trial.as_dict() for trial in self.trials],
            "best": self.best.number if self.best else None,
        }


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


def leaderboard(ledger: Ledger, name: str) -> Leaderboard:
    """The leaderboard of an experiment's newest sweep."""
    sweep = known_sweep(ledger, name)
    objective = Measure.parse(sweep.objective)
    trials = sorted(ledger.trials(sweep), key=lambda trial: _order(trial, objective))
    return Leaderboard(
        experiment=name,
        objective=objective,
        baselines=tuple(trial for trial in trials if trial.role is Role.BASELINE),
        trials=tuple(trial for trial in trials if trial.role is Role.TRIAL),
    )


def _order(trial: Trial, objective: Measure) -> tuple[float, int]:
    score = trial.score(objective)
    return (float("inf") if score is None else -score, trial.number)
