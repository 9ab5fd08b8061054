"""One trial, from recipe to record."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from embedsweep.core.bill import Bill
from embedsweep.core.canaries import CANARIES_FILE, canaries_of
from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import UserError
from embedsweep.core.interrupts import uninterrupted
from embedsweep.core.ports import (
    OpenSweep,
    StopTraining,
    TrainingListener,
    TrialEnd,
    TrialStart,
)
from embedsweep.core.recipe import BaselineRecipe, Recipe, TunedRecipe, kept_among
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Trial, TrialFailure
from embedsweep.evaluation import Evaluator, evaluate_lexical
from embedsweep.evaluation.sample import for_epochs
from embedsweep.executors.in_process import measured
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep.companions import companions, provenance
from embedsweep.workflows.sweep.epochs import NOBODY, Epochs, Watch

RECORDED_STEPS = 50
"""Of so many steps of a trial, evenly spread, the metrics are recorded."""


@dataclass(frozen=True)
class _Made:
    """What a trial made before it was recorded."""

    outcome: Outcome
    report: Report | None = None
    model: Path | None = None
    canaries: str = ""
    kept_epoch: int | None = None


@dataclass(frozen=True)
class _Attempt:
    """What making a model needs beside its recipe."""

    run_id: str
    model: Path
    listener: TrainingListener
    watch: Watch


class _Steps:
    """Shows every step of a trial, and records what some of them tell."""

    def __init__(
        self,
        show: Callable[[int, int], None],
        record: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self._show = show
        self._record = record
        self._total = 0

    def on_step(self, done: int, total: int) -> None:
        self._total = total
        self._show(done, total)

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        every = max(1, -(-self._total // RECORDED_STEPS))
        if step % every == 0 or step == self._total:
            self._record(step, {f"step/{name}": value for name, value in metrics.items()})


def _bill(start: TrialStart, bill: Bill) -> Bill | None:
    """The bill of a trial that asked a provider, also where it comes to nothing."""
    base = start.recipe.base
    return bill if base is not None and base.provider is not None else None


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
        self._whole = Evaluator(dataset.valid, objective)

    @cached_property
    def sampled(self) -> Evaluator:
        """What the epochs of a training are compared by; the whole split where it is small."""
        sample = for_epochs(self._dataset.valid)
        return self._whole if sample is self._dataset.valid else Evaluator(sample, self._objective)

    def run(self, start: TrialStart, watch: Watch = NOBODY) -> Trial:
        """Make the model, measure it and record both; returns the record.

        An interruption abandons the run and goes through; so does a mistake of the user's and a
        store that fails, for they concern the sweep and not this recipe.
        """
        self._services.check_owner()
        ledger, run_id, is_recorded = self._services.ledger, None, False
        folder = Path(tempfile.mkdtemp(prefix="trial-", dir=self._services.work))
        try:
            # What is begun and what is recorded is known here before a signal comes.
            with uninterrupted():
                run_id = ledger.start(self._sweep, self._dataset, start)
            end = self._ended(start, run_id, folder / "model", watch)
            with uninterrupted():
                trial = ledger.finish(run_id, start, end)
                is_recorded = True
            return trial
        except (KeyboardInterrupt, UserError):
            if run_id is not None and not is_recorded:
                ledger.abandon(run_id)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, start: TrialStart, run_id: str, model: Path, watch: Watch) -> TrialEnd:
        """Make and measure the model; return all that is recorded of it."""
        label = f"{start.role.value} {start.number}"
        progress, facts = self._services.progress, dict[str, str]()
        progress.trial(label, 0, None)
        steps = _Steps(partial(progress.trial, label), partial(self._services.ledger.epoch, run_id))
        listener = TrainingListener(
            on_step=steps.on_step,
            on_metrics=steps.on_metrics,
            on_fact=facts.__setitem__,
            say=progress.say,
        )
        before = self._services.bill()
        attempt = _Attempt(run_id, model, listener, watch)
        took = measured(lambda: self._make(start, attempt))
        end = TrialEnd(
            outcome=took.result.outcome,
            seconds=took.seconds,
            peak_memory=took.peak_memory,
            report=took.result.report,
            model=took.result.model,
            kept_epoch=took.result.kept_epoch,
            facts=facts,
            bill=_bill(start, self._services.bill() - before),
        )
        return replace(end, companions=self._companions(run_id, start, end, took.result))

    def _make(self, start: TrialStart, attempt: _Attempt) -> _Made:
        try:
            if isinstance(start.recipe, BaselineRecipe):
                return self._baseline(start.recipe, attempt.model)
            return self._tuned(start.recipe, attempt)
        except TrialFailure as failure:
            return _Made(Failed(failure.kind, failure.message))
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - the trial boundary: one recipe's end, not the sweep's
            return _Made(Failed(type(error).__name__, str(error) or repr(error)))

    def _baseline(self, recipe: BaselineRecipe, model: Path) -> _Made:
        if recipe.base is None:
            report = evaluate_lexical(self._dataset.valid, self._objective)
            return _Made(Completed(), report)
        self._services.backend_of(recipe.base).untuned(recipe.base, model)
        embedder = self._services.open(model)
        report = self._whole.report(embedder)
        return _Made(Completed(), report, model, self._canaries(recipe, model))

    def _tuned(self, recipe: TunedRecipe, attempt: _Attempt) -> _Made:
        choice = kept_among(recipe)
        # A single epoch that no pruner looks at is compared with none.
        is_alone = choice[-1] == 1 and not attempt.watch.wants_all
        evaluator = self._whole if is_alone else self.sampled
        epochs = Epochs(
            recipe,
            attempt.model,
            self._objective,
            evaluator.report,
            partial(self._services.ledger.epoch, attempt.run_id),
            attempt.watch,
        )
        listener = replace(attempt.listener, on_epoch=epochs.on_epoch)
        try:
            self._services.backend(recipe).train(recipe, self._dataset.train, None, listener)
        except StopTraining:
            return _Made(Pruned(epochs.reached))
        kept, model = epochs.kept, attempt.model
        report = kept.report
        if evaluator is not self._whole:
            report = self._whole.report(self._services.open(model))
        canaries = self._canaries(recipe, model)
        chosen = kept.epoch if len(choice) > 1 else None
        return _Made(Completed(), report, model, canaries, chosen)

    def _canaries(self, recipe: Recipe, model: Path) -> str:
        """Vectors of the kept model as a server has them; a provider's, as they were measured."""
        hosted = recipe.base is not None and recipe.base.provider is not None
        embedder = self._services.open(model) if hosted else self._services.open_live(model)
        # The canaries of all trials are the same texts: a frozen model need not embed them again.
        embedder = getattr(embedder, "recalling", embedder)
        return canaries_of(embedder, self._dataset.valid, hosted=hosted)

    def _companions(
        self, run_id: str, start: TrialStart, end: TrialEnd, made: _Made
    ) -> Mapping[str, str]:
        if end.model is None or end.report is None:
            return {}
        trial = Trial(
            number=start.number,
            role=start.role,
            arm=start.arm,
            recipe=start.recipe,
            fingerprint=start.fingerprint,
            outcome=end.outcome,
            metrics=end.report.metrics(),
            seconds=end.seconds,
            peak_memory=end.peak_memory,
            run_id=run_id,
            kept_epoch=end.kept_epoch,
        )
        origin = provenance(
            trial,
            self._sweep,
            self._dataset,
            self._services.provenance(trial.recipe),
            end.facts,
        )
        return {
            CANARIES_FILE: made.canaries,
            **companions(trial, end.report, origin, self._services.card),
        }
