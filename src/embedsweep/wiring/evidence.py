"""The stores, opened where the user says they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.config import StoreLocations, load_environment
from embedsweep.core.errors import UsageError

if TYPE_CHECKING:
    from embedsweep.stores.job_book import SqlJobBook
    from embedsweep.stores.mlflow_ledger import MlflowLedger
    from embedsweep.stores.mlflow_registry import MlflowRegistry
    from embedsweep.stores.mlflow_upkeep import MlflowUpkeep
    from embedsweep.stores.relocation import Relocation

DEFAULT_STORES = Path("mlruns-config/local.env")
WORK_FOLDER = "work"


def locations(stores: str | None) -> StoreLocations:
    """Where the evidence is kept: as named, else the project's default, else ./mlruns."""
    file = Path(stores) if stores else DEFAULT_STORES
    if not stores and not file.is_file():
        return load_environment(None, os.environ)
    return load_environment(file, os.environ)


def open_ledger(stores: str | None) -> MlflowLedger:
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.mlflow_ledger import MlflowLedger

    places = locations(stores)
    return MlflowLedger(open_client(places), places.artifacts)


def open_registry(stores: str | None) -> MlflowRegistry:
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.mlflow_registry import MlflowRegistry
    from embedsweep.stores.registry_locks import turns_at

    places = locations(stores)
    turns = turns_at(places.study_url, places.home / "locks")
    return MlflowRegistry(open_client(places), turns)


def open_upkeep(stores: str | None) -> MlflowUpkeep:
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.mlflow_upkeep import MlflowUpkeep

    places = locations(stores)
    return MlflowUpkeep(open_client(places), places.home / "locks", places.home / WORK_FOLDER)


def relocate(stores: str | None) -> Relocation:
    """Correct the paths of a tracking store that moved; see `stores.relocation.relocate`."""
    from embedsweep.stores.relocation import relocate as correct

    return correct(locations(stores))


@contextmanager
def job_book(stores: str | None) -> Iterator[SqlJobBook]:
    """The job book, beside the studies: all who share those share it."""
    from embedsweep.stores.job_book import SqlJobBook

    with closing(SqlJobBook(locations(stores).study_url)) as book:
        yield book


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A folder for models on their way, on the disk where they end up."""
    from embedsweep.stores.workspace import work_folder

    with ExitStack() as stack:
        try:
            path = stack.enter_context(work_folder(home / WORK_FOLDER))
        except OSError as error:
            raise UsageError(
                "EMBEDSWEEP_HOME",
                str(home),
                f"it cannot be written: {error.strerror}",
                "make the folder writable or choose another one",
            ) from error
        yield path


def show_pages(stores: str | None, port: int) -> int:
    """MLflow's own pages, until they are stopped; returns the exit code."""
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.pages import show_pages as show

    places = locations(stores)
    open_client(places)
    return show(places.tracking_uri, places.artifacts, port)
