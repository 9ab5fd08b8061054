"""Files: their content on the disk, their rows in the database, and whose they are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.database import Database, cursor
from embedsweep.serving.fine_tuning.disk import NOT_AGAIN, Disk
from embedsweep.serving.fine_tuning.identifiers import new_id
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.records import Page, Purpose, StoredFile

_ENDINGS = frozenset({".jsonl", ".ndjson", ".json", ".csv"})
"""What tells the format of a file; without one of these the content does."""

_OF_OWNER = """
    SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM files WHERE NOT is_deleted AND owner = ?
"""
_OF_ALL = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM files WHERE NOT is_deleted"


@dataclass(frozen=True)
class Arrived:
    """An upload, whole on the disk.

    Attributes:
        path: Where it lies, in `Disk.incoming`.
        bytes: Its size.
        filename: What the client calls it.
        purpose: What it is for.
        lifetime: Seconds until it expires; None for never.
    """

    path: Path
    bytes: int
    filename: str
    purpose: Purpose
    lifetime: int | None = None


class FileStore:
    """Files by id, each seen by its owner alone.

    Args:
        database: Rows.
        disk: Content.
        limits: How many and how large.
        clock: Unix seconds.
    """

    def __init__(
        self, database: Database, disk: Disk, limits: FineTuningLimits, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._disk = disk
        self._limits = limits
        self._clock = clock

    def check_quota(self, owner: str, size: int) -> None:
        """Raise `ApiError` unless a file of this size may be added."""
        self.purge()
        with self._database.transaction() as rows:
            self._check_quota(rows, owner, size)
        self._disk.check_room(size)

    def add(self, owner: str, arrived: Arrived) -> StoredFile:
        """Take an upload in.

        Raises:
            ApiError: It would be one file too many, or too many bytes.
        """
        with self._database.transaction() as rows:
            self._check_quota(rows, owner, arrived.bytes)
            return self._insert(rows, owner, arrived)

    def add_result(self, owner: str, arrived: Arrived) -> StoredFile:
        """Take in what a job wrote; it is bounded by the job, not by a quota."""
        with self._database.transaction() as rows:
            return self._insert(rows, owner, arrived)

    def _insert(self, rows: sqlite3.Connection, owner: str, arrived: Arrived) -> StoredFile:
        now = int(self._clock())
        file = StoredFile(
            id=new_id("file"),
            owner=owner,
            filename=arrived.filename,
            purpose=arrived.purpose,
            bytes=arrived.bytes,
            created_at=now,
            expires_at=None if arrived.lifetime is None else now + arrived.lifetime,
        )
        # A file without a row is swept away at the next start; a row without a file would stay.
        arrived.path.rename(self.path_of(file))
        rows.execute(
            "INSERT INTO files (id, owner, filename, purpose, bytes, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                file.id,
                owner,
                file.filename,
                file.purpose.value,
                file.bytes,
                file.created_at,
                file.expires_at,
            ),
        )
        return file

    def get(self, file_id: str, owner: str) -> StoredFile:
        """The owner's file; raises `ApiError` 404 where there is none."""
        file = self.find(file_id, owner)
        if file is None:
            raise _no_such_file(file_id)
        return file

    def find(self, file_id: str, owner: str) -> StoredFile | None:
        row = self._database.row(
            "SELECT * FROM files WHERE id = ? AND owner = ? AND NOT is_deleted"
            " AND (expires_at IS NULL OR expires_at > ?)",
            (file_id, owner, self._clock()),
        )
        return None if row is None else _file(row)

    def page(
        self, owner: str, after: str | None, limit: int, purpose: str | None, is_newest_first: bool
    ) -> Page[StoredFile]:
        order, sign = ("DESC", "<") if is_newest_first else ("ASC", ">")
        query = (
            "SELECT * FROM files WHERE owner = ? AND NOT is_deleted"
            " AND (expires_at IS NULL OR expires_at > ?)"
        )
        values: list[object] = [owner, self._clock()]
        if purpose is not None:
            query += " AND purpose = ?"
            values.append(purpose)
        if after is not None:
            # A deleted file still marks its place, so that a client may delete what it pages over.
            row = self._database.row(
                "SELECT number FROM files WHERE id = ? AND owner = ?", (after, owner)
            )
            query += f" AND number {sign} ?"
            values.append(cursor(row, after))
        query += f" ORDER BY number {order} LIMIT ?"
        found = self._database.rows(query, (*values, limit + 1))
        return Page([_file(row) for row in found[:limit]], len(found) > limit)

    def open(self, file_id: str, owner: str) -> tuple[StoredFile, BinaryIO]:
        """The owner's file and its content, to be closed by the caller."""
        file = self.get(file_id, owner)
        try:
            return file, self.path_of(file).open("rb")
        except FileNotFoundError:
            raise _no_such_file(file_id) from None

    def delete(self, file_id: str, owner: str) -> None:
        """Remove the owner's file.

        Raises:
            ApiError: 404 where there is none, 400 while a job needs it.
        """
        file = self.get(file_id, owner)
        with self._database.transaction() as rows:
            user = rows.execute(
                "SELECT id FROM live_jobs WHERE ? IN (training_file, validation_file)", (file_id,)
            ).fetchone()
            if user is not None:
                message = f"file {file_id} is used by job {user['id']}, which has not ended"
                raise ApiError(400, "file_in_use", message, "file_id")
            rows.execute("UPDATE files SET is_deleted = 1 WHERE id = ?", (file_id,))
        self.path_of(file).unlink(missing_ok=True)

    def purge(self) -> None:
        """Remove what has expired; what a job still needs stays until the job ends."""
        with self._database.transaction() as rows:
            expired = rows.execute(
                "SELECT * FROM files WHERE NOT is_deleted AND expires_at <= ?"
                " AND NOT EXISTS (SELECT 1 FROM live_jobs"
                " WHERE files.id IN (training_file, validation_file))",
                (self._clock(),),
            ).fetchall()
            for row in expired:
                rows.execute("UPDATE files SET is_deleted = 1 WHERE id = ?", (row["id"],))
        for row in expired:
            self.path_of(_file(row)).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """What lies on the disk by right."""
        rows = self._database.rows("SELECT * FROM files WHERE NOT is_deleted")
        return {self.path_of(_file(row)).name for row in rows}

    def path_by_id(self, file_id: str) -> Path:
        """Where the content lies, whoever owns it and though it may have expired."""
        [row] = self._database.rows("SELECT * FROM files WHERE id = ?", (file_id,))
        return self.path_of(_file(row))

    def path_of(self, file: StoredFile) -> Path:
        ending = PurePath(file.filename).suffix.lower()
        return self._disk.files / (file.id + (ending if ending in _ENDINGS else ""))

    def _check_quota(self, rows: sqlite3.Connection, owner: str, size: int) -> None:
        limits = self._limits
        for query, values, whose, files, most in (
            (_OF_OWNER, (owner,), "this key", limits.files_per_owner, limits.bytes_per_owner),
            (_OF_ALL, (), "this server", limits.files, limits.bytes),
        ):
            count, total = rows.execute(query, values).fetchone()
            if count >= files:
                message = f"{whose} keeps {count} files, at most {files} are kept; delete some"
                raise ApiError(429, "file_limit_exceeded", message, headers=NOT_AGAIN)
            if total + size > most:
                message = (
                    f"{whose} keeps {total} bytes of files and {size} more would make them "
                    f"more than {most}, which is all that is kept; delete some"
                )
                raise ApiError(507, "insufficient_storage", message, headers=NOT_AGAIN)


def sync(file: BinaryIO) -> None:
    """Have what was written reach the disk."""
    file.flush()
    os.fsync(file.fileno())


def _no_such_file(file_id: str) -> ApiError:
    return ApiError(404, "file_not_found", f"No such File object: {file_id[:100]!r}", "id")


def _file(row: sqlite3.Row) -> StoredFile:
    return StoredFile(
        id=row["id"],
        owner=row["owner"],
        filename=row["filename"],
        purpose=Purpose(row["purpose"]),
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
