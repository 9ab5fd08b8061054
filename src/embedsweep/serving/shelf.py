"""The models being served: each name's champion, and the one before it, while the alias moves."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from embedsweep.core.canaries import check_canaries
from embedsweep.core.errors import DataError, StoreError, UserError
from embedsweep.core.ports import Embedder, Registry, Version
from embedsweep.serving.guards import ANYONE
from embedsweep.serving.self_check import AnsweredRequests
from embedsweep.serving.served import Shelf, fault_of
from embedsweep.serving.watch import AliasWatch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
PROBE_TEXT = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True)
class LoadedModel:
    """A version in memory.

    Attributes:
        version: Which one.
        embedder: The model.
        loaded_at: Unix seconds.
    """

    version: Version
    embedder: Embedder
    loaded_at: int

    def __str__(self) -> str:
        return f"{self.version.name} version {self.version.number}"


@dataclass(frozen=True)
class Listing:
    """A name to ask for a model by.

    Attributes:
        id: What replies call it: ``name@champion`` or ``name/7``.
        model: Who answers to it now.
    """

    id: str
    model: LoadedModel

    @property
    def created(self) -> int:
        return self.model.loaded_at

    @property
    def version(self) -> int:
        return self.model.version.number

    @property
    def fingerprint(self) -> str:
        return self.model.version.fingerprint

    @property
    def embedder(self) -> Embedder:
        return self.model.embedder

    def open(self) -> Embedder:
        return self.model.embedder


class ModelShelf:
    """Loads champions from the registry, follows their alias, and finds models by their ids.

    Finding is lock-free and safe from any thread: it reads one mapping, which a swap replaces
    whole. Loading and following take turns.

    Args:
        registry: Where the champions are.
        open_model: Opens the folder that the registry fetched.
        home: Folder for the models' files; each loaded model has one of its own in it, which goes
            when the model is no longer used.
        keep_previous: How many former champions stay loaded, for clients that pin a version.
    """

    def __init__(
        self,
        registry: Registry,
        open_model: Callable[[Path], Embedder],
        home: Path,
        keep_previous: int = 1,
    ) -> None:
        self._registry = registry
        self._open_model = open_model
        self._home = home
        self._keep = keep_previous
        self._turn = threading.Lock()
        self._rows: dict[str, tuple[LoadedModel, ...]] = {}
        self._listings: Mapping[str, Listing] = {}
        self._watches: defaultdict[str, AliasWatch] = defaultdict(AliasWatch)

    def load(self, name: str) -> LoadedModel:
        """Put the champion on the shelf.

        Raises:
            StoreError: There is no champion, or the registry cannot be asked.
            DataError: Its files are not what was published, it gives no sound vectors, or others
                than the model that was measured.
        """
        with self._turn:
            version = self._registry.resolve(name)
            if version is None:
                raise StoreError(
                    "no champion",
                    f"the registry's model {name!r}",
                    "the alias 'champion' names no version, expected one",
                    f"promote a model to {name!r} first",
                )
            model = self._open(version)
            self._publish(model)
            return model

    def find(self, model_id: str, owner: str = ANYONE) -> Listing | None:
        """Who answers to ``name``, ``name@champion`` or ``name/7`` now; None if nobody does."""
        return self._listings.get(model_id)

    def listings(self, owner: str = ANYONE) -> list[Listing]:
        """All there is to ask for: champions under their alias, loaded versions under their pin.

        Champions are everybody's, whoever asks.
        """
        return [listing for key, listing in self._listings.items() if key == listing.id]

    def champions(self) -> list[LoadedModel]:
        found = self._listings.items()
        return [listing.model for key, listing in found if key == listing.model.version.name]

    @property
    def degraded(self) -> bool:
        """Whether some champion served may not be the registry's."""
        return any(watch.in_trouble for watch in list(self._watches.values()))

    def refresh(self) -> None:
        """Follow every alias to its version; whatever fails, what is served stays. Never raises."""
        with self._turn:
            for name, row in list(self._rows.items()):
                self._follow(name, row)

    def _follow(self, name: str, row: tuple[LoadedModel, ...]) -> None:
        champion, watch = row[0], self._watches[name]
        version = _attempt(lambda: self._registry.resolve(name))
        if version is None:
            if watch.lose("no alias"):
                logger.warning("%s serves on: the alias 'champion' is gone", champion)
            return
        if isinstance(version, Exception):
            if watch.lose("no registry"):
                logger.warning("%s serves on: no registry: %s", champion, _line(version))
            return
        watch.outage = None
        if version == champion.version:
            watch.refused = None
        elif not watch.rests(version.number):
            self._swap(version, row, watch)

    def _swap(self, version: Version, row: tuple[LoadedModel, ...], watch: AliasWatch) -> None:
        model = _attempt(lambda: self._successor(version, row))
        if isinstance(model, LoadedModel):
            watch.refused = None
            self._publish(model)
            logger.info("%s serves, after version %d", model, row[0].version.number)
        elif watch.refuse(version.number):
            fault = _line(model)
            logger.warning("%s serves on: version %d will not: %s", row[0], version.number, fault)

    def _successor(self, version: Version, row: tuple[LoadedModel, ...]) -> LoadedModel:
        """The version, off the shelf or loaded, if it can stand in for the champion."""
        for model in row:
            if model.version == version:
                return model
        model = self._open(version)
        served, offered = row[0].embedder.dimension, model.embedder.dimension
        if offered != served:
            raise DataError(
                "another dimension",
                f"{model}",
                f"it has {offered}, the clients' indexes have {served}",
                "rebuild the indexes, then restart the server",
            )
        return model

    def _open(self, version: Version) -> LoadedModel:
        self._home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{version.number}-", dir=self._home))
        with ExitStack() as removal:
            removal.callback(shutil.rmtree, folder, ignore_errors=True)
            source = self._registry.fetch(version.model_reference, folder, version.manifest_digest)
            model = LoadedModel(version, self._open_model(source), int(time.time()))
            probe = model.embedder.embed([PROBE_TEXT])
            fault = fault_of(probe, 1, model.embedder.dimension)
            if fault is not None:
                fix = "promote another version, or roll back"
                raise DataError("a model of no use", f"{model}", fault, fix)
            answered = AnsweredRequests(Listing(f"{version.name}/{version.number}", model))
            check_canaries(answered, folder, f"{model}")
            # A request may hold the model longer than the shelf does: the files go with the last.
            weakref.finalize(model, removal.pop_all().close)
            return model

    def _publish(self, model: LoadedModel) -> None:
        """Make the model its name's champion, from one moment to the next."""
        name = model.version.name
        former = [
            other
            for other in self._rows.get(name, ())
            if other.version.number != model.version.number
        ]
        self._rows[name] = (model, *former[: self._keep])
        self._listings = _listings(self._rows)


def _listings(rows: Mapping[str, Sequence[LoadedModel]]) -> dict[str, Listing]:
    listings: dict[str, Listing] = {}
    for name, row in rows.items():
        alias = Listing(f"{name}@champion", row[0])
        pins = [Listing(f"{name}/{model.version.number}", model) for model in row]
        listings |= {name: alias, alias.id: alias} | {pin.id: pin for pin in pins}
    return listings


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    """The result, or whatever went wrong."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a new champion may fail in any way; the old serves on
        return error


def _line(error: Exception) -> str:
    """The error in one line; a mistake of the user's says all itself, any other its kind too."""
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]


_: type[Shelf] = ModelShelf
