"""A sweep that has no completed trial: whose fault that is, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from embedsweep.core.errors import DataError, Refusal, StoreError, UserError
from embedsweep.core.trial import Completed, Failed, Trial

OF_OTHERS = frozenset(
    {"store", "provider", "bad_embedding", "deadline", "cancelled", "no_model_name"}
)
"""Failure kinds that a store or a provider is at fault for."""


def without_result(trials: Sequence[Trial], experiment: Path) -> UserError | None:
    """Return the error of a sweep none of whose trials completed, or `None`.

    Args:
        trials: The sweep's trials, without its baselines.
        experiment: The experiment file.

    Returns:
        A `StoreError` if a store or a provider is at fault for every trial, a `Refusal` if no
        trial was run, otherwise a `DataError`.
    """
    if any(isinstance(trial.outcome, Completed) for trial in trials):
        return None
    what, where = "sweep without a completed trial", str(experiment)
    if not trials:
        return Refusal(
            what,
            where,
            "the budget's minutes ended before the first trial",
            "raise `minutes` under `budget`, and run `embedsweep sweep EXPERIMENT.yaml`",
        )
    failures = [trial.outcome for trial in trials if isinstance(trial.outcome, Failed)]
    kinds = Counter(failure.kind for failure in failures)
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    first = f"; the first: {failures[0].message}" if failures else ""
    why = f"{len(failures)} of {len(trials)} trials failed ({counts}){first}"
    if failures and set(kinds) <= OF_OTHERS:
        fix = (
            "check the provider and the store that the failures name, and run "
            "`embedsweep sweep EXPERIMENT.yaml --new-study`"
        )
        return StoreError(what, where, why, fix)
    fix = (
        "correct the data, the model or the ranges that the failures name, and run "
        "`embedsweep sweep EXPERIMENT.yaml --new-study`"
    )
    return DataError(what, where, why, fix)
