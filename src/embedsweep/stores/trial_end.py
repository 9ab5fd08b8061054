"""How a trial ends, whatever keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from embedsweep.core.ports import TrialEnd, TrialStart
from embedsweep.core.trial import Failed, Outcome, Pruned, Trial


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are numbers; a store would sort an infinity first."""
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


def scores(values: Mapping[str, float]) -> dict[str, float]:
    """The validation measures among a run's values."""
    return {name: value for name, value in values.items() if name.startswith("valid/")}


def ended_trial(
    run_id: str, measured: Mapping[str, float], start: TrialStart, end: TrialEnd
) -> Trial:
    """The trial that comes of its epochs and its end, its model not yet kept.

    Args:
        run_id: Its run.
        measured: Last value by name that its epochs reported.
        start: What was known before.
        end: What came of it.
    """
    final: Mapping[str, float] = {}
    if end.report is not None:
        final = end.report.metrics()
    elif end.reused is not None:
        final = end.reused.metrics
    metrics = {**scores(measured), **finite(final)}
    return Trial(
        number=start.number,
        role=start.role,
        arm=start.arm,
        recipe=start.recipe,
        fingerprint=start.fingerprint,
        outcome=end.outcome,
        metrics={} if isinstance(end.outcome, Failed) else metrics,
        seconds=end.seconds,
        peak_memory=end.peak_memory,
        run_id=run_id,
        model_reference=end.reused.model_reference if end.reused else None,
        reused_from=(end.reused.reused_from or end.reused.run_id) if end.reused else None,
        kept_epoch=end.reused.kept_epoch if end.reused else end.kept_epoch,
    )


def status_of(outcome: Outcome) -> str:
    """The status that the run of such a trial ends with, in MLflow's words."""
    if isinstance(outcome, Failed):
        return "FAILED"
    return "KILLED" if isinstance(outcome, Pruned) else "FINISHED"
