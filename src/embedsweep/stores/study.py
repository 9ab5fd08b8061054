"""The study database: what Optuna knows of a sweep."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.addresses import DATABASE_URL, masked, scheme_of, sqlite_file
from embedsweep.stores.database_locks import schema_lock
from embedsweep.stores.locks import exclusive
from embedsweep.stores.reach import PATIENCE, reach_database
from embedsweep.stores.store_errors import store_errors, summary

_SQLITE_ENGINE: dict[str, Any] = {"connect_args": {"timeout": 30}}
# A server may close idle connections between trials, and two machines may sit in two time zones.
_POSTGRESQL_ENGINE: dict[str, Any] = {
    "pool_pre_ping": True,
    "pool_size": 2,
    "max_overflow": 2,
    "connect_args": {
        "application_name": "embedsweep",
        "options": "-c timezone=UTC",
        "connect_timeout": PATIENCE,
    },
}


def open_study(url: str, name: str, sampler: BaseSampler, pruner: BasePruner) -> optuna.Study:
    """The study of that name, begun if there is none; it maximises one value.

    Args:
        url: ``sqlite:///…`` for one machine, ``postgresql://…`` for several.
        name: The study.
        sampler: How to propose; a study does not remember it.
        pruner: When to stop; nor this.

    Raises:
        UsageError: The URL is neither, or the study minimises.
        StoreError: The database does not answer, or its schema is another version's.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scheme = scheme_of(url)
    if scheme == "sqlite":
        file = sqlite_file(url)
        with exclusive(file.with_name(f"{file.name}.lock")):
            storage = _open_storage(url, _SQLITE_ENGINE)
    elif scheme == "postgresql":
        reach_database(url)
        with schema_lock(url):
            storage = _open_storage(url, _POSTGRESQL_ENGINE)
    else:
        raise UsageError(
            f"study address {masked(url)!r}",
            "the settings of the stores",
            "a study lives in SQLite or PostgreSQL",
            DATABASE_URL,
        )
    with store_errors(url, "open the study"):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=sampler,
            pruner=pruner,
            direction="maximize",
            load_if_exists=True,
        )
    if study.direction is not StudyDirection.MAXIMIZE:
        raise UsageError(
            f"study {name!r}",
            masked(url),
            "it minimises, a sweep maximises its objective",
            "give the experiment another name or the study another database",
        )
    return study


def _open_storage(url: str, engine: dict[str, Any]) -> RDBStorage:
    try:
        with store_errors(url, "open the study database"):
            return RDBStorage(url, engine_kwargs=engine)
    except (RuntimeError, StorageInternalError) as error:
        raise StoreError(
            "study database",
            masked(url),
            summary(error),
            "give the study a database of its own",
        ) from None
