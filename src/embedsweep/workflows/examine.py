"""Whether what is kept is sound: the records, the aliases, the champions' files, the runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedsweep.core.errors import DataError, StoreError, UserError
from embedsweep.core.ports import Registry, Version
from embedsweep.core.upkeep import Upkeep
from embedsweep.workflows.standing import standing_of

LOOKED_AT = ("champion", "previous")
"""The aliases whose versions must be there whole: what serves, and what a rollback goes back to."""


def examine(registry: Registry, upkeep: Upkeep, work: Path) -> list[UserError]:
    """Everything that is not as it should be, each with what to do; empty where all is sound.

    Args:
        registry: The models, each fetched and verified for real.
        upkeep: The runs and files beside them.
        work: A folder for models on their way.

    Raises:
        StoreError: The store does not answer.
    """
    found: list[UserError] = []
    for name in registry.names():
        found += _of_model(registry, upkeep, name, work)
    for run in upkeep.stale_runs():
        found.append(
            DataError(
                f"run {run.name}",
                f"MLflow run {run.run_id}",
                f"it stands as running, and {run.owner} has ended",
                f"sweep experiment {run.experiment} again, which ends it and goes on from there",
            )
        )
    for model in upkeep.models():
        if not model.is_whole and not model.is_in_use:
            found.append(
                DataError(
                    f"model of {model.label}",
                    f"{model.reference}, experiment {model.experiment}",
                    f"its keeping broke off, and {model.size:,} bytes of it are left",
                    "remove it with `embedsweep gc --delete`",
                )
            )
    return found


def _of_model(registry: Registry, upkeep: Upkeep, name: str, work: Path) -> Iterator[UserError]:
    versions = {alias: registry.resolve(name, alias) for alias in LOOKED_AT}
    try:
        finding = standing_of(registry, name).finding()
    except DataError as error:
        finding = error
    if finding is not None:
        yield finding
    for alias, version in versions.items():
        if version is not None:
            yield from _of_version(registry, upkeep, version, alias, work)


def _of_version(
    registry: Registry, upkeep: Upkeep, version: Version, alias: str, work: Path
) -> Iterator[UserError]:
    where = f"models:/{version.name}/{version.number}"
    folder = Path(tempfile.mkdtemp(prefix="examine-", dir=work))
    try:
        registry.fetch(where, folder, version.manifest_digest)
    except DataError as error:
        yield error
    except StoreError as error:
        # The store has just answered: it is this model that it does not have.
        yield DataError(
            f"files of the {alias}",
            where,
            error.faults[0].why,
            "restore them from a backup, roll back, or promote another version",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if version.run_id and upkeep.is_deleted(version.run_id):
        yield DataError(
            f"run of the {alias}",
            where,
            f"run {version.run_id} is deleted, and `mlflow gc` would take the model's files",
            f"run {upkeep.restoring(version.run_id)} while it can be done",
        )
