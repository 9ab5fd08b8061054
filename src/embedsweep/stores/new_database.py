"""Making MLflow's database in one go: its migrations wait for the disk a thousand times."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy
from mlflow import MlflowClient
from sqlalchemy.engine import Engine


def make_database(file: Path) -> None:
    """Make MLflow's tables in a new SQLite file, which appears whole or not at all.

    It is written elsewhere without waiting for the disk, and synced once when it is done. Nobody
    else may make the same file meanwhile.

    Raises:
        OSError, MlflowException, SQLAlchemyError: It cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        TemporaryDirectory() as folder,
        TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as beside,
    ):
        draft = Path(folder) / "draft.db"
        address = f"sqlite:///{draft}"
        with _unsynced(draft):
            MlflowClient(tracking_uri=address, registry_uri=address)
        # A copy: MLflow keeps its connections to what it has made.
        whole = Path(beside) / file.name
        shutil.copyfile(draft, whole)
        with whole.open("rb+") as written:
            os.fsync(written.fileno())
        whole.replace(file)


@contextmanager
def _unsynced(file: Path) -> Iterator[None]:
    """Connections to the file that are opened meanwhile write without waiting for the disk."""

    def relax(connection: sqlite3.Connection, record: object) -> None:
        del record
        cursor = connection.execute("PRAGMA database_list")
        if any(row[2] and Path(row[2]).samefile(file) for row in cursor.fetchall()):
            connection.execute("PRAGMA synchronous = OFF")

    sqlalchemy.event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        sqlalchemy.event.remove(Engine, "connect", relax)
