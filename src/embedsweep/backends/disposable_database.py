"""A SQLite file whose content can be made again, shared by the processes of one machine."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from embedsweep.core.errors import StoreError, UsageError

_BUSY_SECONDS = 60
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FIX = "free disk space, make the folder writable, or delete the file to begin anew"

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class DisposableDatabase:
    """Transactions on the file; when it is damaged it is renamed aside and begun anew.

    Safe for threads and processes; a connection lives as long as its transaction.

    Args:
        path: The file; it and its folder are created if absent. Not on a network drive.
        schema: Statements that create the tables.

    Raises:
        UsageError: The folder cannot be written.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path.absolute()
        self._schema = schema
        self.transaction(lambda connection: None)

    def transaction(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What the work gives; the work is repeated on a new file when the old one is damaged.

        Raises:
            StoreError: The disk is full, or the file is not to be had.
        """
        try:
            if self.path.exists():
                return self._once(work)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGE:
                raise self._out_of_order(error) from error
        try:
            self._begin_anew()
            return self._once(work)
        except (OSError, sqlite3.DatabaseError) as error:
            raise self._out_of_order(error) from error

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of this name; whoever comes meanwhile waits, and a kill lets go."""
        with self._lock(name, fcntl.LOCK_EX):
            yield

    def _once(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        # Shared: while the file is in use nobody renames it aside.
        with self._lock("file", fcntl.LOCK_SH), _connected(self.path) as connection, connection:
            return work(connection)

    def _begin_anew(self) -> None:
        """Put a sound file in place, unless another process just has."""
        with self._lock("file", fcntl.LOCK_EX):
            if self.path.exists():
                if _is_sound(self.path):
                    return
                _logger.warning(
                    "%s was damaged and is begun anew; the old file is kept beside it, its name "
                    "beginning with damaged-, and may be deleted",
                    self.path,
                )
            # The write-ahead log goes along: SQLite would replay it into the new file.
            at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
            for path in self.path.parent.glob(f"{self.path.name}*"):
                path.rename(path.with_name(f"damaged-{at}-{path.name}"))
            new = self.path.with_name(f"new-{self.path.name}")
            for path in new.parent.glob(f"{new.name}*"):
                path.unlink()
            with _connected(new) as connection:
                connection.executescript(self._schema)
                connection.execute("PRAGMA journal_mode = WAL")
            new.rename(self.path)

    @contextmanager
    def _lock(self, name: str, how: int) -> Iterator[None]:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"{name}.lock").open("a")
        except OSError as error:
            raise UsageError(
                self.path.name,
                str(folder),
                f"it cannot be written: {error.strerror}",
                "make the folder writable or choose another one",
            ) from error
        with file:
            fcntl.flock(file, how)
            yield

    def _out_of_order(self, error: Exception) -> StoreError:
        return StoreError(self.path.name, str(self.path.parent), f"SQLite says: {error}", _FIX)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as connection:
        # A power cut may take the last commits, but leaves the file whole.
        connection.execute("PRAGMA synchronous = NORMAL")
        yield connection


def _is_sound(path: Path) -> bool:
    try:
        with _connected(path) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(found == ("ok",))
