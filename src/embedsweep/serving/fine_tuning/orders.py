"""The work that a worker process is given, what it tells meanwhile, and what comes of it.

Neither this module nor those of the orders load the HTTP service: a worker needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedsweep.core.dataset import Benchmark, TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.recipe import LocalRecipe
from embedsweep.data.training_file import read_training_file, read_validation_file
from embedsweep.serving.fine_tuning.hyperparameters import Value

SHOWN_FAULTS = 5


class JobFailure(Exception):
    """The job cannot go on; see `records.JobError`."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(code, message, param)
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True)
class Line:
    """Something for whoever watches the job."""

    text: str


@dataclass(frozen=True)
class Progress:
    """So many steps of so many are done; told often, for the time that is left."""

    done: int
    total: int


@dataclass(frozen=True)
class StepTold:
    """What the training tells of a step; the metrics may be none."""

    step: int
    total: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class EpochTold:
    """An epoch has ended; its model lies whole in `folder` and may be moved away."""

    epoch: int
    step: int
    total: int
    metrics: Mapping[str, float]
    folder: Path


Report = Line | Progress | StepTold | EpochTold
Tell = Callable[[Report], None]


@dataclass(frozen=True)
class Inspected:
    """The files are valid.

    Attributes:
        recipe: What to train.
        hyperparameters: The same, in the client's words.
        rows: Of the training file.
    """

    recipe: LocalRecipe
    hyperparameters: Mapping[str, Value]
    rows: int


@dataclass(frozen=True)
class Trained:
    """The model lies in the folder.

    Attributes:
        tokens: Tokens of the training file, times the epochs.
    """

    tokens: int


class Order(Protocol):
    """Work for a worker process; it travels there pickled."""

    def carry_out(self, tell: Tell) -> Inspected | Trained:
        """Do it; raises `JobFailure` when it cannot be done."""
        ...


@dataclass(frozen=True)
class JobFiles:
    """The content of a job's files; None where there is no validation file."""

    training: Path
    validation: Path | None

    def read(self) -> tuple[TrainingSet, Benchmark | None]:
        """The data; raises `JobFailure` with the lines at fault."""
        param = "training_file"
        try:
            training = read_training_file(self.training)
            if self.validation is None:
                return training, None
            param = "validation_file"
            return training, read_validation_file(self.validation, training)
        except DataError as error:
            raise JobFailure(f"invalid_{param}", _faults_of(error), param) from None


def _faults_of(error: DataError) -> str:
    """The faults in one paragraph, by their lines; where the file lies is left out."""
    said = [
        f"{'' if fault.line is None else f'line {fault.line}: '}{fault.what}: {fault.why}"
        for fault in error.faults[:SHOWN_FAULTS]
    ]
    if error.total > len(error.faults):
        said.append(f"{error.total} faults in all")
    return "; ".join(said)
