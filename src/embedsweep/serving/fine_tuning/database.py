"""The database of the fine-tuning service: one SQLite file, one process, one writer at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedsweep.core.errors import StoreError
from embedsweep.serving.errors import ApiError

SCHEMA_VERSION = 1
"""Kept in the file's ``user_version``."""

_SCHEMA = """
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    filename TEXT NOT NULL,
    purpose TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    is_deleted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX files_of ON files (owner, is_deleted);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    status TEXT NOT NULL,
    model TEXT NOT NULL,
    model_id TEXT NOT NULL UNIQUE,
    training_file TEXT NOT NULL,
    validation_file TEXT,
    suffix TEXT,
    seed INTEGER NOT NULL,
    hyperparameters TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    recipe TEXT,
    error TEXT,
    fine_tuned_model TEXT,
    result_file TEXT,
    trained_tokens INTEGER,
    finished_at INTEGER,
    estimated_finish INTEGER
);
CREATE INDEX jobs_of ON jobs (owner);
CREATE INDEX jobs_that ON jobs (status);
CREATE VIEW live_jobs AS
    SELECT * FROM jobs WHERE status IN ('validating_files', 'queued', 'running');
CREATE TABLE metadata (
    job TEXT NOT NULL REFERENCES jobs (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, key)
);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL REFERENCES jobs (id),
    created_at INTEGER NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
);
CREATE INDEX events_of ON events (job);
CREATE TABLE checkpoints (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL REFERENCES jobs (id),
    created_at INTEGER NOT NULL,
    model TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    metrics TEXT NOT NULL
);
CREATE INDEX checkpoints_of ON checkpoints (job);
CREATE TABLE models (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    folder TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    step INTEGER
);
CREATE INDEX models_of ON models (owner);
CREATE INDEX models_by ON models (job);
"""


class Database:
    """Rows that survive the process. Safe from any thread; statements take turns.

    Args:
        path: The file, made if it is not there.

    Raises:
        StoreError: It cannot be opened, or is of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            self._set_up(path)
        except sqlite3.Error as error:
            raise StoreError(
                "the fine-tuning database",
                str(path),
                f"it cannot be opened: {error}",
                "make the folder writable, put a backup back, or choose another folder",
            ) from error

    def _set_up(self, path: Path) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            self._connection.close()
            raise StoreError(
                "the fine-tuning database",
                str(path),
                f"its version is {version}, this program knows up to {SCHEMA_VERSION}",
                "upgrade embedsweep, or choose another folder",
            )
        if version == 0:
            script = f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            self._connection.executescript(script)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written in the context, or nothing of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # A commit that failed, for want of space, may have ended the transaction itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        found = self.rows(query, values)
        return found[0] if found else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def cursor(row: sqlite3.Row | None, after: str) -> int:
    """The number of the row that a page begins after.

    Raises:
        ApiError: 400 when there is no such row.
    """
    if row is None:
        raise ApiError(400, "invalid_value", f"after: there is no {after[:100]!r}", "after")
    number: int = row["number"]
    return number
