"""Folders of work in progress, each known to be somebody's for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".lock"
"""Ends the name of the file beside a folder that its process holds locked."""


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new empty folder, removed at the end; `leftover_folders` tells if its process died first.

    Raises:
        OSError: The parent cannot be made or written to.
    """
    parent.mkdir(parents=True, exist_ok=True)
    # The lock ends with the process, however that ends.
    with tempfile.NamedTemporaryFile(dir=parent, prefix="work-", suffix=_LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = Path(lock.name.removesuffix(_LOCK))
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def leftover_folders(parent: Path) -> list[Path]:
    """The folders that processes did not live to remove; those without a lock are not ours."""
    locks = sorted(parent.glob(f"work-*{_LOCK}")) if parent.is_dir() else []
    return [_folder_of(lock) for lock in locks if _is_free(lock)]


def remove_leftover(folder: Path) -> None:
    """Remove a folder of work and its lock, unless a process holds it."""
    lock = folder.with_name(f"{folder.name}{_LOCK}")
    if _is_free(lock):
        if folder.is_dir():
            shutil.rmtree(folder)
        lock.unlink(missing_ok=True)


def _folder_of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(_LOCK))


def _is_free(lock: Path) -> bool:
    try:
        file = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True
