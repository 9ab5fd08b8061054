"""The ports: what the workflows ask of the world. Obligations stand in the docstrings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedsweep.core.bill import Bill
from embedsweep.core.dataset import Dataset, TrainingSet
from embedsweep.core.looks import Look, LookRequest
from embedsweep.core.promotion import Decision
from embedsweep.core.recipe import Base, Recipe, TunedRecipe
from embedsweep.core.report import Report
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import Outcome, Role, Trial

FloatArray = npt.NDArray[np.float32]


class Suggest(Protocol):
    """Answers the search space's questions, one value at a time."""

    def choice(self, name: str, options: Sequence[str | int | float]) -> str | int | float: ...

    def uniform(self, name: str, low: float, high: float, *, log: bool) -> float: ...

    def integer(self, name: str, low: int, high: int, *, log: bool) -> int: ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def dimension(self) -> int: ...

    def effective_role(self, role: TextRole) -> TextRole:
        """The role that gives the same vectors: PLAIN where the model has no prompt for this one.

        What measures texts asks it, so as not to embed a text twice to the same end.
        """
        ...

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        """Vectors of the texts, in their order.

        Returns:
            float32 of shape (texts, dimension), each row of unit length. A row that the model
            left at zero or not finite is returned as it is, for the evaluation to refuse.
        """
        ...


@dataclass(frozen=True)
class EpochEnd:
    """What a backend tells after an epoch.

    Attributes:
        epoch: Its number, from 1; the recipe's ``epochs`` for the last one.
        losses: Metrics of the training itself, such as ``train/loss``.
        embedder: The model so far, for as long as the call lasts.
        save: Leaves the model so far in a folder that `Backend.open` opens.
    """

    epoch: int
    losses: Mapping[str, float]
    embedder: Embedder
    save: Callable[[Path], None]


class StopTraining(Exception):
    """Raised by the listener of epochs: training ends here and no model is kept."""


@dataclass(frozen=True)
class TrainingListener:
    """Where a backend reports to while it trains.

    Attributes:
        on_epoch: Called after every epoch; what it raises ends the training and goes through.
        on_step: Called with (done, total) after every optimiser step, and may be before the first.
        on_metrics: Called with (step, metrics) of single steps, such as a provider tells of.
        on_fact: Called with (name, value) of what is to be recorded beside the recipe, such as the
            precision computed in or a job's id; facts told are kept even if the trial fails.
        say: Called with a line for whoever watches.
    """

    on_epoch: Callable[[EpochEnd], None] = lambda end: None
    on_step: Callable[[int, int], None] = lambda done, total: None
    on_metrics: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    on_fact: Callable[[str, str], None] = lambda name, value: None
    say: Callable[[str], None] = lambda line: None


class Backend(Protocol):
    """A way to make models from recipes."""

    def base_digest(self, base: Base) -> str:
        """Identity of the base model: SHA-256 over its files; of a provider's model, its names.

        Raises `UserError` when it cannot be had.
        """
        ...

    def train(
        self,
        recipe: TunedRecipe,
        data: TrainingSet,
        folder: Path | None,
        listener: TrainingListener,
    ) -> None:
        """Train and leave the last epoch's model, or what finds it again, in ``folder``.

        Calls ``listener.on_epoch`` for epochs whose model can be had, for every one that the
        recipe may keep where there are few, and for the last one at the end.

        Args:
            recipe: How to train. Which epoch's model is kept is the listener's to see to.
            data: What to train on.
            folder: Where the last epoch's model goes; None for nowhere, where the listener saves
                what it wants.
            listener: Told of it.

        Raises:
            TrialFailure: The model is not finite, or training broke.
        """
        ...

    def untuned(self, base: Base, folder: Path) -> None:
        """Leave the base model in ``folder`` as it comes."""
        ...

    def open(self, folder: Path) -> Embedder:
        """The model in a folder that `train` or `untuned` filled; runs no code from the folder."""
        ...


@dataclass(frozen=True)
class Sweep:
    """What a sweep is, for the ledger.

    Attributes:
        name: The experiment's name.
        objective: The measure's name, such as ``ndcg@10``.
        identity: What may not change while a sweep goes on (space, data, objective, seed), as
            JSON-able values; a change makes another sweep.
        digest: SHA-256 of `identity`.
        dataset: The data swept over.
        experiment_file: The experiment as the user wrote it.
    """

    name: str
    objective: str
    identity: Mapping[str, Any]
    digest: str
    dataset: Dataset
    experiment_file: str = ""


@dataclass(frozen=True)
class OpenSweep:
    """A sweep as the ledger knows it: its parent run, and what it was when it began."""

    run_id: str
    name: str
    objective: str
    identity: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class TrialStart:
    """What is known of a trial before it runs."""

    number: int
    role: Role
    arm: str
    recipe: Recipe
    fingerprint: str


@dataclass(frozen=True)
class TrialEnd:
    """What came of a trial.

    Attributes:
        outcome: Completed, pruned or failed.
        seconds: Wall time.
        peak_memory: Bytes; 0 if unknown.
        report: The final report; None unless completed.
        model: Folder with the model to keep; None for none.
        facts: Further params to record.
        reused: The equal trial whose result this is, when nothing was run.
        bill: What providers billed for it; None where none was asked.
        companions: Texts to keep beside the model, by file name.
        kept_epoch: The epoch whose model it is, where the recipe left a choice.
    """

    outcome: Outcome
    seconds: float
    peak_memory: int = 0
    report: Report | None = None
    model: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    reused: Trial | None = None
    bill: Bill | None = None
    companions: Mapping[str, str] = field(default_factory=dict)
    kept_epoch: int | None = None


class Ledger(Protocol):
    """Remembers sweeps and trials. One coordinator writes a sweep at a time."""

    def latest(self, name: str) -> OpenSweep | None:
        """The newest sweep of an experiment, or None."""
        ...

    def names(self) -> list[str]:
        """The experiments that have a sweep, sorted."""
        ...

    def begin(self, sweep: Sweep) -> OpenSweep:
        """Begin a sweep: a parent run, RUNNING."""
        ...

    def resume(self, sweep: OpenSweep) -> list[int]:
        """Take a sweep up again: its parent run is RUNNING from now on.

        Child runs that a dead coordinator left RUNNING end KILLED; returns their trial numbers.
        """
        ...

    def end(self, sweep: OpenSweep, status: str, summary: Mapping[str, float]) -> None:
        """End the parent run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        ...

    def start(self, sweep: OpenSweep, dataset: Dataset, trial: TrialStart) -> str:
        """Open the trial's run with all of its recipe and the data's digests; return the run id."""
        ...

    def epoch(self, run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record metrics at an epoch (1-based)."""
        ...

    def finish(self, run_id: str, start: TrialStart, end: TrialEnd) -> Trial:
        """Record what came of it and end the run: FINISHED, KILLED (pruned) or FAILED.

        The run ends last, so that a trial whose run is not RUNNING is whole.
        """
        ...

    def abandon(self, run_id: str) -> None:
        """End an interrupted trial's run KILLED; it counts as never run."""
        ...

    def trials(self, sweep: OpenSweep) -> list[Trial]:
        """The sweep's ended trials, by role and number; interrupted ones left out."""
        ...

    def find(self, name: str, fingerprint: str) -> Trial | None:
        """A completed trial of an experiment, from any of its sweeps, by its fingerprint.

        One whose model is gone is not found: who wants its model must make it again.
        """
        ...

    def report(self, run_id: str) -> Report:
        """The final validation report of a completed trial."""
        ...

    def curves(self, run_id: str, names: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
        """How metrics of a trial went: (step, value) in order of step, the first value of each.

        What its end told counts where no epoch did. A metric that the trial never recorded is left
        out. A reused trial went as its origin did.
        """
        ...

    def attach(self, sweep: OpenSweep, name: str, text: str) -> str:
        """Keep a text as a file of the sweep's parent run, in place of what stood there.

        Returns where people find it: a path on this machine, or the run that has it.

        Args:
            sweep: The sweep.
            name: Such as ``report.html``; what cannot be UTF-8 in ``text`` is kept as ``?``.
            text: The file's content.
        """
        ...

    def record_promotion(
        self, sweep: OpenSweep, decision: Decision, reports: Mapping[str, Report]
    ) -> str:
        """Keep a promotion's decision and reports (``candidate``, ``rival``); return the run id."""
        ...


@dataclass(frozen=True)
class Version:
    """A registered model version.

    Attributes:
        name: Registered model.
        number: Version, from 1.
        run_id: The trial's run.
        fingerprint: The trial's fingerprint.
        model_reference: ``models:/m-…``.
        manifest_digest: SHA-256 of its manifest; every file must match the manifest.
    """

    name: str
    number: int
    run_id: str
    fingerprint: str
    model_reference: str
    manifest_digest: str


class Registry(Protocol):
    """Holds models under names, their versions, and who is champion."""

    def resolve(self, name: str, alias_or_number: str = "champion") -> Version | None:
        """The version an alias or a number names; None if there is none."""
        ...

    def publish(self, name: str, trial: Trial) -> Version:
        """Register the trial's model; the same trial gives the same version again."""
        ...

    def crown(
        self, version: Version, expected: int | None, decision: Decision | None = None
    ) -> None:
        """Move ``champion`` to the version, and ``previous`` to the one it replaces.

        Args:
            version: The champion to be.
            expected: The champion's version now; None for no champion.
            decision: What moves it; recorded first and under the same lock, with the alias
                `PENDING` on the version until ``champion`` has moved: see `finish_move`.

        Raises:
            Refusal: The champion is not version ``expected``; nothing is recorded.
        """
        ...

    def challenge(self, version: Version) -> None:
        """Point the alias ``challenger`` at the version."""
        ...

    def look(self, request: LookRequest) -> Look:
        """Record that a test split is about to be opened for a candidate, and what that spends.

        `next_look` decides, with the looks of the whole registry before it and nobody else
        recording one meanwhile. An undecided look of the same candidate is given again.

        Raises:
            Refusal: The test split can judge no further candidate; nothing is recorded.
        """
        ...

    def record(self, decision: Decision) -> None:
        """Append to the model's record. Nothing in it is ever changed or removed."""
        ...

    def history(self, name: str) -> list[Decision]:
        """Every decision on the model, oldest first; empty for a name not known.

        Raises:
            DataError: The record was tampered with.
        """
        ...

    def looks(self, name: str) -> list[Look]:
        """Every look recorded under the model's name, oldest first; errors as of `history`."""
        ...

    def describe(self, version: Version, text: str) -> None:
        """Write what people read beside a version, as Markdown, in place of what stood there."""
        ...

    def names(self) -> list[str]:
        """The registered models, sorted."""
        ...

    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        """Copy a model's files into ``folder``, verify them, return the folder the backend opens.

        Args:
            model_reference: ``models:/m-…`` or ``models:/name/3``.
            folder: An empty folder.
            manifest_digest: What the manifest itself must hash to; None to take it from the store.

        Raises:
            DataError: A file is missing, extra, of a kind not allowed, or not what was published.
        """
        ...
