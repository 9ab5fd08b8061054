"""The composition root: the only place that names concrete classes.

Heavy libraries are imported inside the functions, when a command needs them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.config import StoreLocations, load_environment, load_experiment
from embedsweep.core.dataset import Dataset
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.core.experiment import Experiment

if TYPE_CHECKING:
    from embedsweep.backends.local.backend import LocalBackend
    from embedsweep.core.ports import Embedder
    from embedsweep.stores.mlflow_ledger import MlflowLedger
    from embedsweep.stores.mlflow_registry import MlflowRegistry
    from embedsweep.workflows.services import Progress, Services

DEFAULT_STORES = Path("mlruns-config/local.env")

__all__ = ["load_experiment"]


def load(path: Path) -> tuple[Experiment, Dataset]:
    """The experiment and its data, both checked whole."""
    from embedsweep.data import load_dataset

    experiment = load_experiment(path)
    return experiment, load_dataset(experiment.data)


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


def local_backend() -> LocalBackend:
    from embedsweep.backends.local.backend import LocalBackend

    return LocalBackend()


@contextmanager
def coordinator(
    stores: str | None, experiment: Experiment, progress: Progress
) -> Iterator[Services]:
    """The services of the one process that may run the experiment's sweep at a time."""
    from embedsweep.backends.model_file import kind_of
    from embedsweep.stores.connection import open_client
    from embedsweep.stores.locks import lock_sweep
    from embedsweep.stores.mlflow_ledger import MlflowLedger
    from embedsweep.stores.mlflow_registry import MlflowRegistry
    from embedsweep.stores.study import open_study
    from embedsweep.workflows.services import Services

    places = locations(stores)
    locks = places.home / "locks"
    with lock_sweep(locks, experiment.name), _scratch(places.home) as work:
        client = open_client(places)
        yield Services(
            ledger=MlflowLedger(client, places.artifacts),
            registry=MlflowRegistry(client, locks),
            backends={"local": local_backend()},
            kind_of=kind_of,
            open_study=partial(open_study, places.study_url),
            work=work,
            progress=progress,
        )


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder for models on their way, on the disk where they end up."""
    try:
        folder = home / "work"
        folder.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=folder)
    except OSError as error:
        raise UsageError(
            "EMBEDSWEEP_HOME",
            str(home),
            f"it cannot be written: {error.strerror}",
            "make the folder writable or choose another one",
        ) from error
    with scratch as path:
        yield Path(path)


def preflight(experiment: Experiment, dataset: Dataset, stores: str | None) -> None:
    """Every reason not to start, raised at once; loads no model."""
    from embedsweep.backends.local.base_models import base_folder, folder_digest
    from embedsweep.workflows.preflight import preflight as examine

    with _scratch(locations(stores).home) as work:
        examine(experiment, dataset, lambda base: folder_digest(base_folder(base.model)), work)


def truncation(experiment: Experiment, dataset: Dataset) -> dict[str, tuple[float, int]]:
    """By base model: the share of texts it reads only in part, and its limit in tokens."""
    from embedsweep.backends.local.base_models import base_folder
    from embedsweep.backends.local.truncation import truncated_share

    texts = [*dataset.train.every_text(), *dataset.valid.every_text()]
    names = [base.model for base in experiment.space.bases() if base.provider is None]
    found = {name: truncated_share(base_folder(name), texts) for name in names}
    return {name: share for name, share in found.items() if share is not None}


def notes(experiment: Experiment, dataset: Dataset) -> list[str]:
    """What a reader of the results should know of the data before they are made."""
    cut = [
        f"{share:.1%} of the texts are longer than the {limit} tokens that {name} reads; "
        "the rest of them counts for nothing"
        for name, (share, limit) in truncation(experiment, dataset).items()
        if share > 0
    ]
    return [*dataset.warnings, *cut]


@contextmanager
def opened_model(stores: str | None, reference: str) -> Iterator[Embedder]:
    """A model by reference: ``models:/…``, ``runs:/…``, a folder or a base model's name."""
    from embedsweep.backends.local.base_models import base_folder

    backend = local_backend()
    if not reference.startswith(("models:/", "runs:/")):
        yield backend.open(base_folder(reference))
        return
    with _scratch(locations(stores).home) as work:
        yield backend.open(open_registry(stores).fetch(reference, work))


def export(stores: str | None, reference: str, folder: Path) -> None:
    """Copy a registered model into a new folder, verified."""
    import shutil

    if folder.exists():
        raise UsageError(
            f"folder {folder}", "the command line", "it exists already", "name a new folder"
        )
    if not reference.startswith(("models:/", "runs:/")):
        reference = f"models:/{reference}@champion"
    with _scratch(locations(stores).home) as work:
        shutil.copytree(open_registry(stores).fetch(reference, work), folder)


def serve(stores: str | None, reference: str, host: str, port: int) -> int:
    """Serve a model's champion until a signal ends it; returns the exit code.

    Args:
        stores: Where the evidence is kept.
        reference: ``NAME`` or ``models:/NAME@champion``.
        host: Address to listen on.
        port: Port; 0 for a free one.
    """
    from embedsweep.serving.address import API_KEYS, Address, check_access, listener_at
    from embedsweep.serving.run import serve as run
    from embedsweep.serving.shelf import ModelShelf

    name = _served_name(stores, reference)
    keys = frozenset(filter(None, os.environ.get(API_KEYS, "").split(",")))
    address = Address(host, port)
    # Told before a model is loaded, which takes seconds.
    check_access(address, keys)
    listener_at(address).close()
    with _scratch(locations(stores).home) as work:
        shelf = ModelShelf(open_registry(stores), local_backend().open, work)
        shelf.load(name)
        run(shelf, address, keys)
    return 0


def _served_name(stores: str | None, reference: str) -> str:
    """The model whose champion is meant; the server follows no other alias."""
    from embedsweep.stores.addresses import parse_reference

    if "/" not in reference and ":" not in reference and "@" not in reference:
        return reference
    named = parse_reference(reference)
    if named.name and named.alias_or_number == "champion":
        return named.name
    if named.name and open_registry(stores).resolve(named.name, named.alias_or_number) is None:
        raise StoreError(
            f"model {reference}",
            "the registry",
            f"{named.name} has no version {named.alias_or_number!r}",
            f"serve {named.name}, which follows its champion",
        )
    raise UsageError(
        f"model {reference}",
        "the command line",
        "the server follows champions, and clients pin versions by asking for NAME/3",
        f"serve {named.name or 'NAME'}",
    )


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
