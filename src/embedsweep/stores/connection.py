"""Opening the stores: addresses checked, schema made once, a dead server told in seconds."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import mlflow
from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.addresses import masked, scheme_of, sqlite_file
from embedsweep.stores.database_locks import schema_lock
from embedsweep.stores.locks import exclusive
from embedsweep.stores.new_database import make_database
from embedsweep.stores.reach import PATIENCE, reach_database
from embedsweep.stores.relocation import Locations, check_location
from embedsweep.stores.store_errors import store_errors

NEEDED_MLFLOW = (3, 17)
# MLflow would print a run's address, password and all, into what a command prints for programs,
# and a bar for every file it reads.
_QUIET_MLFLOW = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_HTTP = ("http", "https")
_SERVERS = ("postgresql", "mysql")


class StoreSettings(Locations, Protocol):
    """Where everything is kept."""

    @property
    def study_url(self) -> str:
        """Optuna's database: ``sqlite:///…`` or ``postgresql://…``, not MLflow's."""
        ...


def open_client(settings: StoreSettings, patience: float = PATIENCE) -> MlflowClient:
    """A client of the tracking store, which answers.

    The schema of a new database is made under a lock, so that any number of processes of this
    machine may open it at once. No ambient MLflow state is read or written, but the environment
    variables that keep MLflow from printing, which it offers no other way.

    Args:
        settings: Where the store is.
        patience: Seconds to wait for a tracking server's first answer.

    Raises:
        UsageError: MLflow is too old, or an address is of no use.
        StoreError: The store does not answer, its schema is another version's, or its files moved.
    """
    check_version(mlflow.__version__)
    os.environ.update(_QUIET_MLFLOW)
    address = settings.tracking_uri
    if address == settings.study_url:
        raise UsageError(
            "study database",
            "the settings of the stores",
            f"it is MLflow's own, {masked(address)}; the two cannot share one database",
            "give the study a database of its own",
        )
    scheme = scheme_of(address)
    if scheme == "sqlite":
        file = sqlite_file(address)
        client = _open_database(address, file.with_name(f"{file.name}.lock"))
        check_location(settings)
        return client
    if scheme in _SERVERS:
        reach_database(address)
        with schema_lock(address) if scheme == "postgresql" else nullcontext():
            client = _open_database(address, settings.home / "mlflow-schema.lock")
        check_location(settings)
        return client
    if scheme not in _HTTP:
        raise UsageError(
            f"tracking address {masked(address)!r}",
            "the settings of the stores",
            "MLflow keeps runs in folders no longer" if scheme in ("", "file") else "not supported",
            "write sqlite:///FILE or http://HOST:PORT",
        )
    with store_errors(address, "reach the tracking server"):
        _reach_server(address, patience)
        return MlflowClient(tracking_uri=address, registry_uri=address)


def check_version(found: str) -> None:
    """Refuse an MLflow older than `NEEDED_MLFLOW` with a `UsageError`."""
    parts = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if parts < NEEDED_MLFLOW:
        needed = f"mlflow>={'.'.join(map(str, NEEDED_MLFLOW))}"
        raise UsageError(
            f"mlflow {found}",
            "this Python environment",
            f"{needed} is needed",
            f"run `pip install '{needed}'`",
        )


def _open_database(address: str, lock: Path) -> MlflowClient:
    """The client makes the tables where there are none; two at once would break them for good."""
    with exclusive(lock), store_errors(address, "open the tracking store"), _quiet():
        if scheme_of(address) == "sqlite" and not sqlite_file(address).exists():
            make_database(sqlite_file(address))
        return MlflowClient(tracking_uri=address, registry_uri=address)


def _reach_server(address: str, patience: float) -> None:
    credentials = get_default_host_creds(address)  # type: ignore[no-untyped-call]
    reply = http_request(  # type: ignore[no-untyped-call]
        credentials,
        "/health",
        "GET",
        max_retries=0,
        timeout=patience,
        raise_on_status=False,
    )
    if reply.status_code >= 500:
        raise StoreError(
            "tracking server",
            masked(address),
            f"it answers with status {reply.status_code}",
            "look into the server's log, or start it again",
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow from telling of every table it makes."""
    loggers = [logging.getLogger(name) for name in ("mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
