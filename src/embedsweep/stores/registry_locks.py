"""Turns at the registry: MLflow moves an alias whatever it was, so whoever moves it takes turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from embedsweep.stores.addresses import scheme_of
from embedsweep.stores.connection import PATIENCE
from embedsweep.stores.locks import exclusive
from embedsweep.stores.store_errors import store_errors

Turns = Callable[[str], AbstractContextManager[None]]
"""Given what is changed, holds everyone else off while the context lasts."""


def turns_at(study_url: str, folder: Path) -> Turns:
    """Turns among all who promote.

    Those who share a PostgreSQL for their studies take turns in it, from any machine; others, by
    files, among the processes of this machine.

    Args:
        study_url: Where the studies are.
        folder: Where the files lie.
    """
    if scheme_of(study_url) == "postgresql":
        return partial(_in_database, study_url)
    return lambda name: exclusive(folder / f"registry-{name}.lock")


@contextmanager
def _in_database(url: str, name: str) -> Iterator[None]:
    """Hold an advisory lock; it ends with the connection, so a dead holder holds nobody off."""
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"application_name": "embedsweep", "connect_timeout": PATIENCE},
    )
    with store_errors(url, "take a turn at the registry"):
        connection = engine.connect()
    with connection:
        with store_errors(url, "take a turn at the registry"):
            wait = text("SELECT pg_advisory_lock(hashtextextended(:name, 0))")
            connection.execute(wait, {"name": f"embedsweep registry {name}"})
        yield
