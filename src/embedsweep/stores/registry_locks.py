"""Turns at the registry: MLflow moves an alias whatever it was, so whoever moves it takes turns."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from embedsweep.stores.addresses import scheme_of
from embedsweep.stores.database_locks import advisory_lock
from embedsweep.stores.locks import exclusive

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
        return lambda name: advisory_lock(
            study_url, f"embedsweep registry {name}", "take a turn at the registry"
        )
    return lambda name: exclusive(folder / f"registry-{name}.lock")
