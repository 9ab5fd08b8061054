"""One trial, from recipe to record."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import UserError
from embedsweep.core.ports import (
    EpochEnd,
    OpenSweep,
    StopTraining,
    TrainingListener,
    TrialEnd,
    TrialStart,
)
from embedsweep.core.recipe import BaselineRecipe
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Trial, TrialFailure
from embedsweep.evaluation import evaluate, evaluate_lexical
from embedsweep.executors.in_process import measured
from embedsweep.workflows.services import Services

KeepsUp = Callable[[int, float], bool]
"""Given an epoch and its objective, whether the trial is worth going on with."""


@dataclass(frozen=True)
class _Made:
    """What a trial made before it was recorded."""

    outcome: Outcome
    report: Report | None = None
    model: Path | None = None
    facts: dict[str, str] | None = None


class TrialRunner:
    """Runs the trials of one sweep in this process.

    Args:
        services: The ports.
        sweep: The sweep the trials belong to.
        dataset: What to train and measure on.
        objective: What the pruner looks at.
    """

    def __init__(
        self, services: Services, sweep: OpenSweep, dataset: Dataset, objective: Measure
    ) -> None:
        self._services = services
        self._sweep = sweep
        self._dataset = dataset
        self._objective = objective

    def run(self, start: TrialStart, keeps_up: KeepsUp = lambda epoch, value: True) -> Trial:
        """Make the model, measure it and record both; returns the record.

        An interruption abandons the run and goes through; so does a mistake of the user's and a
        store that fails, for they concern the sweep and not this recipe.
        """
        ledger = self._services.ledger
        run_id = ledger.start(self._sweep, self._dataset, start)
        self._services.progress.trial(_label(start), 0, 1)
        folder = Path(tempfile.mkdtemp(prefix="trial-", dir=self._services.work))
        try:
            took = measured(lambda: self._make(start, run_id, folder, keeps_up))
            end = TrialEnd(
                outcome=took.result.outcome,
                seconds=took.seconds,
                peak_memory=took.peak_memory,
                report=took.result.report,
                model=took.result.model,
                facts=took.result.facts or {},
            )
            return ledger.finish(run_id, start, end)
        except (KeyboardInterrupt, UserError):
            ledger.abandon(run_id)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _make(self, start: TrialStart, run_id: str, folder: Path, keeps_up: KeepsUp) -> _Made:
        try:
            if isinstance(start.recipe, BaselineRecipe):
                return self._baseline(start.recipe, folder / "model")
            return self._tuned(start, run_id, folder / "model", keeps_up)
        except TrialFailure as failure:
            return _Made(Failed(failure.kind, failure.message))
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - the trial boundary: one recipe's end, not the sweep's
            return _Made(Failed(type(error).__name__, str(error) or repr(error)))

    def _baseline(self, recipe: BaselineRecipe, model: Path) -> _Made:
        if recipe.base_model is None:
            report = evaluate_lexical(self._dataset.valid, self._objective)
            return _Made(Completed(), report)
        backend = self._services.backend(recipe)
        backend.untuned(recipe.base_model, model)
        report = evaluate(backend.open(model), self._dataset.valid, self._objective)
        return _Made(Completed(), report, model)

    def _tuned(self, start: TrialStart, run_id: str, model: Path, keeps_up: KeepsUp) -> _Made:
        reports: list[Report] = []

        def on_epoch(end: EpochEnd) -> None:
            report = evaluate(end.embedder, self._dataset.valid, self._objective)
            reports.append(report)
            self._services.ledger.epoch(run_id, end.epoch, {**report.metrics(), **end.losses})
            if not keeps_up(end.epoch, report.means[self._objective]):
                raise StopTraining

        label = _label(start)
        listener = TrainingListener(
            on_epoch=on_epoch,
            on_step=lambda done, total: self._services.progress.trial(label, done, total),
        )
        backend = self._services.backend(start.recipe)
        try:
            facts = backend.train(start.recipe, self._dataset.train, model, listener)
        except StopTraining:
            return _Made(Pruned(len(reports)))
        return _Made(Completed(), reports[-1], model, facts)


def _label(start: TrialStart) -> str:
    return f"{start.role.value} {start.number}"
