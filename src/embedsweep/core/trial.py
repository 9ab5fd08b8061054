"""A trial: one recipe tried, and what came of it. A failure is an outcome, never a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from embedsweep.core.recipe import Recipe, recipe_as_dict, with_epoch
from embedsweep.core.recipe_text import recipe_in_words
from embedsweep.core.report import Measure


class Role(StrEnum):
    """Why a recipe was tried: to be beaten, as the sweep drew it, or a good one on another seed."""

    BASELINE = "baseline"
    TRIAL = "trial"
    FINALIST = "finalist"


ROLES = tuple(Role)
"""In the order in which a sweep comes to them."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The model was made and measured; it can be opened again at `Trial.model_reference`."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Stopped after `epoch` (1-based) because it fell behind."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Failed:
    """No model came of it.

    Attributes:
        kind: A short code such as ``non_finite_weights``, ``collapsed``, ``out_of_memory``.
        message: One sentence for people.
    """

    kind: str
    message: str


Outcome = Completed | Pruned | Failed


class TrialFailure(Exception):
    """Raised by a backend or an evaluation when the model at hand is worth no score."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Trial:
    """The record of one trial.

    Attributes:
        number: Counts from 0 within the sweep and the role.
        role: Baseline, trial or finalist.
        arm: Name of the arm it was drawn from; ``baseline`` for baselines.
        recipe: How the model was made.
        fingerprint: Identity of recipe, training data and base weights; equal means equal result.
        outcome: Completed, pruned or failed.
        metrics: Last value by MLflow name, such as ``valid/ndcg_at_10``; empty when failed.
        seconds: Wall time of training and evaluation.
        peak_memory: Peak resident memory of the process while it ran, in bytes; 0 if unknown.
        run_id: The MLflow run that holds the evidence.
        model_reference: Where the model can be opened again; None for BM25 and for no model.
        reused_from: Run id of the equal trial whose result this is, when it was not run again.
        kept_epoch: The epoch whose model was kept and measured, where the recipe left a choice.
    """

    number: int
    role: Role
    arm: str
    recipe: Recipe
    fingerprint: str
    outcome: Outcome
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory: int = 0
    run_id: str = ""
    model_reference: str | None = None
    reused_from: str | None = None
    kept_epoch: int | None = None

    @property
    def state(self) -> str:
        return type(self.outcome).__name__.lower()

    @property
    def recipe_kept(self) -> Recipe:
        """The recipe that gives the kept model and leaves no choice of epochs."""
        return with_epoch(self.recipe, self.kept_epoch)

    @property
    def recipe_in_words(self) -> str:
        """The recipe on one line, for people, with the epoch that was kept."""
        return recipe_in_words(self.recipe, self.kept_epoch)

    def score(self, objective: Measure, split: str = "valid") -> float | None:
        """The objective's value; None unless the trial completed."""
        if not isinstance(self.outcome, Completed):
            return None
        return self.metrics.get(objective.key(split))

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``compare --json`` prints."""
        failure = None
        if isinstance(self.outcome, Failed):
            failure = {"kind": self.outcome.kind, "message": self.outcome.message}
        return {
            "number": self.number,
            "role": self.role.value,
            "state": self.state,
            "arm": self.arm,
            "recipe": recipe_as_dict(self.recipe),
            "kept_epoch": self.kept_epoch,
            "fingerprint": self.fingerprint,
            "metrics": dict(self.metrics),
            "seconds": self.seconds,
            "peak_memory": self.peak_memory,
            "run_id": self.run_id,
            "model_reference": self.model_reference,
            "reused_from": self.reused_from,
            "failure": failure,
        }


def best_trial(trials: list[Trial], objective: Measure, role: Role | None = None) -> Trial | None:
    """The completed trial with the highest objective, the earliest of equals; None if none.

    Args:
        trials: Candidates, in any order.
        objective: Compared on the validation split.
        role: Keep to one role.
    """
    scored = [
        (score, -trial.number, trial)
        for trial in trials
        if (role is None or trial.role is role)
        and trial.model_reference is not None
        and (score := trial.score(objective)) is not None
    ]
    return max(scored, key=lambda row: row[:2])[2] if scored else None
