"""A tracking store whose files moved: MLflow records absolute paths and reads nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy import Connection, bindparam, column, create_engine, func, select, table, union
from sqlalchemy.pool import NullPool

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.addresses import masked, scheme_of, sqlite_file
from embedsweep.stores.locks import exclusive
from embedsweep.stores.mlflow_run import Tag
from embedsweep.stores.store_errors import store_errors

_PLACES = (
    ("experiments", ("experiment_id",), "artifact_location"),
    ("runs", ("run_uuid",), "artifact_uri"),
    ("logged_models", ("model_id",), "artifact_location"),
    ("model_versions", ("name", "version"), "storage_location"),
    ("model_versions", ("name", "version"), "source"),
)
"""Where MLflow records absolute paths: table, primary key, column."""

_DEPTHS = (("runs", "artifact_uri", 2), ("logged_models", "artifact_location", 3))
"""What an experiment's folder holds: table, column, and how deep in the folder the path ends."""

_WITHOUT_FILES = ("http", "https")


class Locations(Protocol):
    """The part of the store settings that a move concerns."""

    @property
    def tracking_uri(self) -> str:
        """MLflow's store: ``sqlite:///…``, ``http(s)://…`` or ``postgresql://…``."""
        ...

    @property
    def artifacts(self) -> str:
        """Where new experiments keep their files: an absolute path, or a URI."""
        ...

    @property
    def home(self) -> Path:
        """Folder for locks and work in progress."""
        ...


@dataclass(frozen=True)
class Move:
    """A folder that the database names, and where its content is by the settings.

    Attributes:
        old: The recorded folder.
        new: The configured folder.
        is_found: Whether files that the database knows are in `new`.
    """

    old: Path
    new: Path
    is_found: bool

    @property
    def why(self) -> str:
        """What is wrong, as a clause."""
        recorded = f"the database records its files in {self.old}"
        if not self.is_found:
            return f"{recorded}, which is gone, and {self.new} has none of them"
        if self.old.exists():
            return f"it is a copy: {recorded}, which still exists, and they are in {self.new} too"
        return f"it moved: {recorded}, and they are in {self.new} now"


@dataclass(frozen=True)
class Relocation:
    """What `relocate` did.

    Attributes:
        moves: The folders that were replaced.
        changed: Number of corrected paths by column, such as ``runs.artifact_uri``.
        backup: The file that holds the state before, or `None` if nothing was changed.
        missing: Number of corrected paths where no file is.
    """

    moves: tuple[Move, ...]
    changed: Mapping[str, int]
    backup: Path | None
    missing: int


def check_location(settings: Locations) -> None:
    """Check that the tracking database names the folders that the settings name.

    Args:
        settings: The settings of a database that has MLflow's tables.

    Raises:
        StoreError: If the store moved or is a copy.
    """
    address = settings.tracking_uri
    with store_errors(address, "read where the files are"), _connected(address) as connection:
        moves = _moves(connection, settings)
    if moves:
        raise moved(settings, moves[0])


def moved(settings: Locations, move: Move) -> StoreError:
    """Return the error that names the command that repairs the store."""
    fix = "run `embedsweep doctor --relocate`, which backs up the database and corrects the paths"
    if not move.is_found:
        fix = (
            f"put the files into {move.new}, or set EMBEDSWEEP_ARTIFACTS to the folder that has "
            "them, and run `embedsweep doctor --relocate`"
        )
    return StoreError("MLflow store", masked(settings.tracking_uri), move.why, fix)


def relocate(settings: Locations) -> Relocation:
    """Correct every recorded path of a store that moved, after a backup, in one transaction.

    A path stays as it is if its files are at the old place and not at the new one. The old place
    is only read.

    Raises:
        UsageError: If the store is a server, whose database is out of reach.
        StoreError: If the database does not answer or the backup cannot be written.
    """
    address = settings.tracking_uri
    if scheme_of(address) in _WITHOUT_FILES:
        raise UsageError(
            "--relocate",
            masked(address),
            "a tracking server keeps its own database, and its artifacts are where it says",
            "run it on the server's machine, with MLFLOW_TRACKING_URI set to the database",
        )
    if scheme_of(address) == "sqlite" and not sqlite_file(address).exists():
        return Relocation((), {}, None, 0)
    with _turn(settings), store_errors(address, "correct the paths"):
        with _connected(address) as connection:
            moves = tuple(_moves(connection, settings))
            rows = [] if not moves else list(_corrections(connection, _folders(moves, settings)))
        if not rows:
            return Relocation(moves, {}, None, 0)
        backup = _back_up(settings, rows)
        with _connected(address) as connection, connection.begin():
            changed = _write(connection, rows)
    missing = sum(not row.new_path.exists() for row in rows)
    return Relocation(moves, changed, backup, missing)


def local_path(location: str) -> Path | None:
    """Return the absolute path that a location of MLflow's names, or `None` for any other."""
    parts = urlsplit(location)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        path = Path(url2pathname(parts.path))
    elif not parts.scheme:
        path = Path(location)
    else:
        return None
    return path if path.is_absolute() else None


def _connected(address: str) -> Connection:
    return create_engine(address, poolclass=NullPool).connect()


def _turn(settings: Locations) -> AbstractContextManager[None]:
    """The lock that makers of the schema take, so that no one opens a store half corrected."""
    if scheme_of(settings.tracking_uri) != "sqlite":
        return nullcontext()
    file = sqlite_file(settings.tracking_uri)
    return exclusive(file.with_name(f"{file.name}.lock"))


def _moves(connection: Connection, settings: Locations) -> list[Move]:
    """The recorded folders of artifacts that are not the configured one, though they should be."""
    if scheme_of(settings.artifacts):
        return []
    new = Path(settings.artifacts).absolute()
    moves: dict[Path, Move] = {}
    for experiment, folder in _recorded(connection):
        old = folder.parent
        if os.path.realpath(old) == os.path.realpath(new):
            continue
        is_found = _holds(connection, experiment, folder, new / folder.name)
        known = moves.get(old)
        if is_found or (known is None and not old.exists() and _has_runs(connection, experiment)):
            moves[old] = Move(old, new, is_found or (known is not None and known.is_found))
    return sorted(moves.values(), key=lambda move: not move.is_found)


def _recorded(connection: Connection) -> Iterator[tuple[int, Path]]:
    """The folders of our experiments, by the experiments and by what was recorded in them."""
    tags = table("experiment_tags", column("experiment_id"), column("key"), column("value"))
    ours = select(tags.c.experiment_id).where(tags.c.key == Tag.KIND, tags.c.value == "sweep")
    experiments = table("experiments", column("experiment_id"), column("artifact_location"))
    found = connection.execute(select(experiments).where(experiments.c.experiment_id.in_(ours)))
    seen = {(row[0], path) for row in found if (path := local_path(row[1] or ""))}
    for name, location, depth in _DEPTHS:
        held = table(name, column("experiment_id"), column(location))
        # The first and the last in order differ if any two do.
        ends = union(
            *(
                select(held.c.experiment_id, which(held.c[location])).group_by(held.c.experiment_id)
                for which in (func.min, func.max)
            )
        )
        for experiment, text in connection.execute(ends):
            path = local_path(text or "")
            if path is not None and len(path.parts) > depth + 1:
                seen.add((experiment, path.parents[depth - 1]))
    known = {experiment for (experiment,) in connection.execute(ours)}
    return iter(sorted(row for row in seen if row[0] in known))


def _holds(connection: Connection, experiment: int, folder: Path, new: Path) -> bool:
    """Whether files that are recorded in the experiment's folder are in the new folder."""
    if not new.is_dir():
        return False
    for name, location, _ in _DEPTHS:
        held = table(name, column("experiment_id"), column(location))
        recorded = select(held.c[location]).where(held.c.experiment_id == experiment)
        paths = (local_path(row[0] or "") for row in connection.execute(recorded))
        inside = (path for path in paths if path is not None and path.is_relative_to(folder))
        if any((new / path.relative_to(folder)).exists() for path in inside):
            return True
    return False


def _has_runs(connection: Connection, experiment: int) -> bool:
    runs = table("runs", column("experiment_id"), column("run_uuid"))
    one = select(runs.c.run_uuid).where(runs.c.experiment_id == experiment).limit(1)
    return connection.execute(one).first() is not None


def _folders(moves: tuple[Move, ...], settings: Locations) -> list[tuple[Path, Path]]:
    """Old and new folders; those of the whole home if the artifacts moved along with it."""
    pairs = []
    for move in moves:
        old, new, home = move.old, move.new, settings.home.absolute()
        if move.new.is_relative_to(home):
            inner = move.new.relative_to(home).parts
            if move.old.parts[-len(inner) :] == inner and len(move.old.parts) > len(inner) + 1:
                old, new = Path(*move.old.parts[: -len(inner)]), home
        pairs.append((old, new))
    return pairs


@dataclass(frozen=True)
class _Correction:
    """One path in one row: its table, key and column, and both texts."""

    table: str
    column: str
    key: Mapping[str, str | int]
    old: str
    new: str
    new_path: Path


def _corrections(connection: Connection, folders: list[tuple[Path, Path]]) -> Iterator[_Correction]:
    for name, key, location in _PLACES:
        rows = table(name, *(column(each) for each in (*key, location)))
        for *identity, text in connection.execute(select(rows)):
            old = local_path(text or "")
            target = None if old is None else _target(old, folders)
            if target is not None:
                new = target.as_uri() if urlsplit(text).scheme else str(target)
                named = dict(zip(key, identity, strict=True))
                yield _Correction(name, location, named, text, new, target)


def _target(old: Path, folders: list[tuple[Path, Path]]) -> Path | None:
    """Where a path moved, or `None` if it did not."""
    for old_folder, new_folder in folders:
        if old.is_relative_to(old_folder):
            new = new_folder / old.relative_to(old_folder)
            if new.exists() or not old.exists():
                return new
    return None


def _write(connection: Connection, rows: list[_Correction]) -> dict[str, int]:
    changed: dict[str, int] = {}
    for name, key, location in _PLACES:
        mine = [row for row in rows if (row.table, row.column) == (name, location)]
        if not mine:
            continue
        written = table(name, *(column(each) for each in (*key, location)))
        matches = (written.c[each] == bindparam(f"key_{each}") for each in key)
        change = written.update().where(*matches).values({location: bindparam("path")})
        values = [
            {"path": row.new, **{f"key_{each}": row.key[each] for each in key}} for row in mine
        ]
        connection.execute(change, values)
        changed[f"{name}.{location}"] = len(mine)
    return changed


def _back_up(settings: Locations, rows: list[_Correction]) -> Path:
    """Write the state before: a copy of a SQLite file, or SQL that puts a server's rows back."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    if scheme_of(settings.tracking_uri) == "sqlite":
        file = sqlite_file(settings.tracking_uri)
        backup = file.with_name(f"{file.name}.before-relocation-{at}")
        with _connected(settings.tracking_uri) as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            outside.exec_driver_sql("VACUUM INTO ?", (str(backup),))
        return backup
    backup = settings.home / f"before-relocation-{at}.sql"
    settings.home.mkdir(parents=True, exist_ok=True)
    backup.write_text("".join(f"{_undo(row)};\n" for row in rows), encoding="utf-8")
    return backup


def _undo(row: _Correction) -> str:
    key = " AND ".join(f"{name} = {_literal(value)}" for name, value in row.key.items())
    # It is written to a file for the user, not run.
    return f"UPDATE {row.table} SET {row.column} = {_literal(row.old)} WHERE {key}"  # noqa: S608


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"
