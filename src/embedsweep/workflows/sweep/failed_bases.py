"""Base models that cannot embed the data: their arms are not tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from embedsweep.core.errors import DataError, Fault
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import Base
from embedsweep.core.trial import Failed, Role, Trial

PASSABLE = frozenset({"collapsed", "indistinct", "store"})
"""Failures of a baseline after which its model may still be trained: its vectors are finite, but
too alike, or only its record could not be stored."""


def failed_bases(trials: Iterable[Trial]) -> dict[Base, Failed]:
    """Return the base models that failed untuned, each with its failure."""
    found: dict[Base, Failed] = {}
    for trial in trials:
        base, outcome = trial.recipe.base, trial.outcome
        if trial.role is not Role.BASELINE or base is None:
            continue
        if isinstance(outcome, Failed) and outcome.kind not in PASSABLE:
            found[base] = outcome
    return found


def report_failed(
    experiment: Experiment, failed: Mapping[Base, Failed], say: Callable[[str], None]
) -> None:
    """Say which arms are not tried.

    Raises:
        DataError: If no base model is left to try.
    """
    arms = experiment.space.arms
    if failed.keys() >= set(experiment.space.bases()):
        raise DataError.of(
            [
                Fault(
                    f"base model {str(base)!r}",
                    str(experiment.path),
                    f"it cannot embed the data untuned ({failure.kind}: {failure.message}), so "
                    "that no recipe of it was tried",
                    "correct that or name another base model, then run `embedsweep sweep "
                    "EXPERIMENT.yaml --new-study`",
                )
                for base, failure in failed.items()
            ]
        )
    for base, failure in failed.items():
        names = ", ".join(arm.name for arm in arms if base in arm.bases())
        say(
            f"{base} cannot embed the data untuned ({failure.kind}: {failure.message}): no recipe "
            f"of it is tried (arm {names})"
        )
