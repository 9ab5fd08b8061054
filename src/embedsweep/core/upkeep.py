"""Keeping house over a store: which models take room, who needs them, what dead processes left."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Registration:
    """A version that a kept model is registered as.

    Attributes:
        name: Registered model.
        number: Its version.
        aliases: What points to the version.
        is_ours: Whether this program registered the name.
    """

    name: str
    number: int
    aliases: tuple[str, ...]
    is_ours: bool

    def __str__(self) -> str:
        return f"{self.name}/{self.number}"


@dataclass(frozen=True)
class KeptModel:
    """A model of a trial, as files that take room.

    Attributes:
        reference: ``models:/m-…``.
        label: Which trial's it is, such as ``trial-0007``.
        experiment: The experiment.
        run_id: The trial's run.
        size: Bytes.
        is_whole: Whether it was kept to the end; not so of one whose keeping broke off.
        is_in_use: Whether its trial or its sweep is still running, as the store has it.
        registrations: Its versions.
    """

    reference: str
    label: str
    experiment: str
    run_id: str
    size: int
    is_whole: bool
    is_in_use: bool
    registrations: tuple[Registration, ...]


@dataclass(frozen=True)
class Leftover:
    """A folder of work that its process did not live to remove."""

    path: Path
    size: int


@dataclass(frozen=True)
class StaleRun:
    """A run that stands as running though its process has ended.

    Attributes:
        run_id: The run.
        name: The run's name.
        experiment: Its experiment.
        owner: The process, for people.
    """

    run_id: str
    name: str
    experiment: str
    owner: str


class Upkeep(Protocol):
    """What keeping house asks of a store, beside the ledger and the registry.

    Nothing that another program made is among what it tells of, nor removed by it.
    """

    def models(self) -> list[KeptModel]:
        """The models whose files take room, by experiment and the order they were made in."""
        ...

    def hold(self, experiment: str) -> AbstractContextManager[bool]:
        """Keep sweeps and promotions of the experiment from beginning on this machine.

        Gives False, and keeps nobody, where one is going on.
        """
        ...

    def remove(self, model: KeptModel, at: str) -> None:
        """Remove a model's files, and first mark it as collected at that time, ISO 8601.

        What is marked is told as such by `Registry.fetch` and not found by `Ledger.find`. Done
        again, it goes on where it broke off.
        """
        ...

    def leftovers(self) -> list[Leftover]:
        """The folders of work of this machine whose processes have ended."""
        ...

    def discard(self, leftover: Leftover) -> None:
        """Remove a folder of work, unless a process has it after all."""
        ...

    def stale_runs(self) -> list[StaleRun]:
        """The runs that dead processes of this machine left running."""
        ...

    def is_deleted(self, run_id: str) -> bool:
        """Whether a run was deleted, so that ``mlflow gc`` may take its model's files."""
        ...

    def restoring(self, run_id: str) -> str:
        """The command, in backquotes, that restores a deleted run."""
        ...
