"""The epochs of one training: what each is worth, and whose model is kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedsweep.core.ports import Embedder, EpochEnd, StopTraining
from embedsweep.core.recipe import TunedRecipe, kept_among
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import TrialFailure


@dataclass(frozen=True)
class Watch:
    """Who looks on while a trial trains.

    Attributes:
        keeps_up: Given an epoch and its objective, whether the trial is worth going on with.
        wants_all: Whether it is to be asked after epochs that cannot be kept too.
    """

    keeps_up: Callable[[int, float], bool]
    wants_all: bool


NOBODY = Watch(lambda epoch, value: True, wants_all=False)


@dataclass(frozen=True)
class Kept:
    """The best epoch so far, of those that may be kept, with its objective."""

    epoch: int
    value: float
    report: Report


class Epochs:
    """Measures the epochs of one training and keeps the best one's model, the earliest of equals.

    Every model that is measured is the one that a training of so many epochs would end with, so
    that the best number of epochs is found in the time of the largest.

    Args:
        recipe: Says which epochs may be kept.
        folder: Where the kept model lies.
        objective: What is best is told by it; higher is better.
        measure: Measures a model.
        record: Keeps the metrics of an epoch.
        watch: May end the training, but not after its last epoch, when all is done.
    """

    def __init__(
        self,
        recipe: TunedRecipe,
        folder: Path,
        objective: Measure,
        measure: Callable[[Embedder], Report],
        record: Callable[[int, Mapping[str, float]], None],
        watch: Watch = NOBODY,
    ) -> None:
        self._choice = kept_among(recipe)
        self._folder = folder
        self._objective = objective
        self._measure = measure
        self._record = record
        self._watch = watch
        self._kept: Kept | None = None
        self.reached = 0

    @property
    def kept(self) -> Kept:
        """The epoch whose model lies in the folder; raises `TrialFailure` if there is none."""
        if self._kept is None:
            told = f"{self._choice.start} to {self._choice.stop - 1}"
            raise TrialFailure("no_model", f"the backend told of none of the epochs {told}")
        return self._kept

    def on_epoch(self, end: EpochEnd) -> None:
        """Fulfils `core.ports.TrainingListener.on_epoch`."""
        self.reached = end.epoch
        has_choice = len(self._choice) > 1
        if has_choice and end.epoch < self._choice.start and not self._watch.wants_all:
            self._record(end.epoch, end.losses)
            return
        report = self._measure(end.embedder)
        self._record(end.epoch, {**report.metrics(), **end.losses})
        value = report.means[self._objective]
        if end.epoch in self._choice and (self._kept is None or value > self._kept.value):
            shutil.rmtree(self._folder, ignore_errors=True)
            end.save(self._folder)
            self._kept = Kept(end.epoch, value, report)
        keeps_up = self._watch.keeps_up(end.epoch, value)
        if not keeps_up and end.epoch < self._choice[-1]:
            raise StopTraining
