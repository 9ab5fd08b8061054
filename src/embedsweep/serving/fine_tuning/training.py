"""Training a job's model."""

from __future__ import annotations

import csv
import errno
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedsweep.core.dataset import Benchmark, TrainingSet
from embedsweep.core.errors import UserError
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.trial import TrialFailure
from embedsweep.evaluation import evaluate
from embedsweep.serving.fine_tuning.orders import (
    EpochTold,
    JobFailure,
    JobFiles,
    Line,
    Progress,
    StepTold,
    Tell,
    Trained,
)
from embedsweep.serving.served import token_count

logger = logging.getLogger(__name__)

MODEL = "model"
RESULTS = "step_metrics.csv"
"""What a training leaves in its folder."""

STEP_EVENTS = 100
"""So many of a job's steps are told of, evenly spread."""

PROGRESS_SECONDS = 0.5
TEXTS_AT_A_TIME = 256

Train = Callable[[LocalRecipe, TrainingSet, Path, TrainingListener], None]
"""Trains and leaves the model in a folder. A function of a module's own, for it goes to another
process by its name."""


@dataclass(frozen=True)
class Training:
    """Train, and tell of it.

    Attributes:
        train: What trains.
        recipe: What to train.
        files: The job's.
        folder: An empty folder, named as the job; `MODEL` and `RESULTS` are left in it.
    """

    train: Train
    recipe: LocalRecipe
    files: JobFiles
    folder: Path

    def carry_out(self, tell: Tell) -> Trained:
        training, validation = self.files.read()
        watch = TrainingWatch(training, validation, self.folder, tell)
        listener = TrainingListener(
            on_epoch=watch.on_epoch,
            on_step=watch.on_step,
            on_metrics=watch.on_metrics,
            on_fact=lambda name, value: tell(Line(f"{name}: {value}")),
            say=lambda line: tell(Line(line)),
        )
        try:
            self.train(self.recipe, training, self.folder / MODEL, listener)
            watch.write(self.folder / RESULTS)
        except TrialFailure as failure:
            raise JobFailure(failure.kind, failure.message) from None
        except MemoryError:
            message = "the training needs more memory than there is; a smaller batch needs less"
            raise JobFailure("out_of_memory", message) from None
        except UserError as error:
            # It may name folders of this machine, which are none of the client's business.
            logger.error("%s: training failed: %s", self.folder.name, error)
            message = "the training could not be set up; the server's log tells why"
            raise JobFailure("server_error", message) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            message = "the server's disk is full"
            raise JobFailure("insufficient_storage", message) from None
        return Trained(watch.tokens * self.recipe.epochs)


@dataclass
class TrainingWatch:
    """Follows one training, tells of it, and keeps the metrics of every step.

    Attributes:
        training: What is trained on.
        validation: What is measured after every epoch; None for nothing.
        folder: Where checkpoints go.
        tell: Where reports go.
        tokens: Of the training file, once the first epoch has ended.
    """

    training: TrainingSet
    validation: Benchmark | None
    folder: Path
    tell: Tell
    tokens: int = 0
    _done: int = 0
    _total: int = 0
    _told_at: float = 0.0
    _untold: int = 0
    _measured: int = 0
    _rows: list[dict[str, float]] = field(default_factory=list)

    def on_step(self, done: int, total: int) -> None:
        self._tell_step()
        self._done, self._total = done, total
        self._untold = 0 if done == self._measured else done
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS or done == total:
            self._told_at = now
            self.tell(Progress(done, total))

    def on_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        named = finite(metrics)
        self._note({"step": step, **named})
        self._untold = self._measured = step
        self._tell_step(named)

    def _tell_step(self, metrics: Mapping[str, float] | None = None) -> None:
        """Tell of a step, now that its metrics are known or that it has none."""
        step, total, self._untold = self._untold, self._total, 0
        if step and (step == total or step % max(1, -(-total // STEP_EVENTS)) == 0):
            self.tell(StepTold(step, total, metrics or {}))

    def on_epoch(self, end: EpochEnd) -> None:
        self._tell_step()
        if not self.tokens:
            self.tokens = _tokens(end, self.training)
        metrics = dict(end.losses)
        if self.validation is not None:
            metrics |= evaluate(end.embedder, self.validation).metrics()
        step = self._done or end.epoch
        named = finite(metrics)
        self._note({"step": step, "epoch": end.epoch, **named})
        folder = self.folder / f"epoch-{end.epoch}"
        end.save(folder)
        self.tell(EpochTold(end.epoch, step, self._total or step, named, folder))

    def _note(self, row: dict[str, float]) -> None:
        if self._rows and self._rows[-1]["step"] == row["step"]:
            self._rows[-1] |= row
        else:
            self._rows.append(row)

    def write(self, file: Path) -> None:
        """Leave the metrics as CSV, a row for each step that was told of or ended an epoch."""
        columns = list(dict.fromkeys(name for row in self._rows for name in row)) or ["step"]
        with file.open("w", encoding="utf-8", newline="") as text:
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(self._rows)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics under names like OpenAI's, those that are no number left out."""
    named = {name.replace("/", "_").replace("@", "_at_"): value for name, value in metrics.items()}
    return {name: float(value) for name, value in named.items() if math.isfinite(value)}


def _tokens(end: EpochEnd, training: TrainingSet) -> int:
    texts = list(training.every_text())
    starts = range(0, len(texts), TEXTS_AT_A_TIME)
    return sum(token_count(end.embedder, texts[at : at + TEXTS_AT_A_TIME]) for at in starts)
