"""Where the service keeps what is too large for a database, and how much room there is."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from embedsweep.core.errors import StoreError
from embedsweep.serving.errors import ApiError

NOT_AGAIN = {"x-should-retry": "false"}
"""For refusals with a status that clients would otherwise try again at once."""


class FolderInUse(StoreError):
    """Another process has the folder."""


class Disk:
    """The folders of one service, which no other process may use meanwhile.

    Attributes:
        files: One file each, by id and ending.
        models: A folder for each job, with a folder for each of its models.
        incoming, work: What is not whole yet; emptied at the start.

    Args:
        home: The folder that holds them all, made if it is not there.
        free_bytes: What must be left for more to be taken on.

    Raises:
        FolderInUse: Another process has the folder.
        StoreError: It cannot be written.
    """

    def __init__(self, home: Path, free_bytes: int) -> None:
        self.home = home
        self.files, self.models = home / "files", home / "models"
        self.incoming, self.work = home / "incoming", home / "work"
        self._free_bytes = free_bytes
        try:
            # What keys keep apart on the wire, the machine's other users shall not read either.
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(home, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for folder in (self.incoming, self.work):
                shutil.rmtree(folder, ignore_errors=True)
            for folder in (self.files, self.models, self.incoming, self.work):
                folder.mkdir(exist_ok=True)
        except BlockingIOError:
            os.close(self._lock)
            raise FolderInUse(
                "the fine-tuning folder",
                str(home),
                "another server has it open, one at a time may",
                "stop that server, or choose another folder",
            ) from None
        except OSError as error:
            os.close(self._lock)
            raise _unwritable(home, error) from error

    def close(self) -> None:
        os.close(self._lock)

    def has_room(self, needed: int = 0) -> bool:
        """Whether the disk has so many bytes beyond what must be left."""
        return shutil.disk_usage(self.home).free - needed >= self._free_bytes

    def check_room(self, needed: int = 0) -> None:
        """Raise `ApiError` 507 unless there is room."""
        if not self.has_room(needed):
            raise no_room()

    def sweep(self, files: Collection[str], models: Collection[str]) -> None:
        """Remove all that is not named: files by their names, models by their relative folders."""
        for file in filter(Path.is_file, self.files.iterdir()):
            if file.name not in files:
                file.unlink()
        for job in filter(Path.is_dir, self.models.iterdir()):
            for folder in job.iterdir():
                if folder.relative_to(self.models).as_posix() not in models:
                    shutil.rmtree(folder)
            if not any(job.iterdir()):
                job.rmdir()


def no_room() -> ApiError:
    message = "the server's disk is nearly full; delete files and models, or ask for a larger disk"
    return ApiError(507, "insufficient_storage", message, headers=NOT_AGAIN)


def _unwritable(home: Path, error: OSError) -> StoreError:
    return StoreError(
        "the fine-tuning folder",
        str(home),
        f"it cannot be written: {error.strerror}",
        "make the folder writable or choose another one",
    )
