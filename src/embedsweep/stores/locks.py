"""Locks between the processes of one machine; they end with the process that holds them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from embedsweep.core.errors import Refusal, UsageError
from embedsweep.stores.addresses import check_name


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock at ``path``; whoever comes meanwhile waits."""
    with _lock_file(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def lock_sweep(folder: Path, name: str) -> Iterator[None]:
    """Be the only process of this machine that runs the sweep.

    Args:
        folder: Where the locks lie; created if absent.
        name: The sweep's name.

    Raises:
        Refusal: Another process runs it; the message has its number.
    """
    check_name(name, "sweep")
    with _lock_file(folder / f"{name}.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "of unknown number"
            raise Refusal(
                f"sweep {name!r}",
                str(folder),
                f"process {holder} is running it, one process at a time may",
                f"wait for process {holder} or stop it",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"lock file {path.name}",
            str(path.parent),
            f"it cannot be written: {error.strerror}",
            "make the folder writable or choose another one",
        ) from error
