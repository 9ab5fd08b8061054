"""The stores, opened where the user says they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.config import StoreLocations, load_environment
from embedsweep.core.errors import UsageError

if TYPE_CHECKING:
    from embedsweep.stores.job_book import SqlJobBook
    from embedsweep.stores.mlflow_ledger import MlflowLedger
    from embedsweep.stores.mlflow_registry import MlflowRegistry

DEFAULT_STORES = Path("mlruns-config/local.env")


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

    places = locations(stores)
    return MlflowRegistry(open_client(places), places.home / "locks")


@contextmanager
def job_book(stores: str | None) -> Iterator[SqlJobBook]:
    """The job book, beside the studies: all who share those share it."""
    from embedsweep.stores.job_book import SqlJobBook

    with closing(SqlJobBook(locations(stores).study_url)) as book:
        yield book


@contextmanager
def scratch(home: Path) -> Iterator[Path]:
    """A folder for models on their way, on the disk where they end up."""
    try:
        folder = home / "work"
        folder.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(dir=folder)
    except OSError as error:
        raise UsageError(
            "EMBEDSWEEP_HOME",
            str(home),
            f"it cannot be written: {error.strerror}",
            "make the folder writable or choose another one",
        ) from error
    with made as path:
        yield Path(path)


def show_pages(stores: str | None, port: int) -> int:
    """MLflow's own pages, until they are stopped; returns the exit code."""
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.pages import show_pages as show

    places = locations(stores)
    open_client(places)
    return show(places.tracking_uri, places.artifacts, port)


def describe_stores(stores: str | None) -> dict[str, str]:
    """What the stores are and that they answer, by what they hold."""
    from embedsweep.stores.addresses import masked

    places = locations(stores)
    experiments = open_ledger(stores).names()
    models = open_registry(stores).names()
    return {
        "runs": f"{masked(places.tracking_uri)}: {len(experiments)} experiments",
        "models": f"{masked(places.tracking_uri)}: {len(models)} registered",
        "studies": masked(places.study_url),
        "artifacts": places.artifacts,
        "home": str(places.home),
    }
