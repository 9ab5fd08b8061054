"""Making new stores in a process of its own, while this one loads other libraries."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from embedsweep.config import StoreLocations
from embedsweep.core.errors import UserError

LAST_SECONDS = 2.0
"""How long a process that was told to end may take; then it is killed."""

_SPAWN = multiprocessing.get_context("spawn")
"""A forked process would inherit locks that threads of this one hold."""


@contextmanager
def made_ahead(places: StoreLocations) -> Iterator[bool]:
    """Have another processor make MLflow's database, if it is a file that is not there yet.

    Gives whether that is so. `stores.connection.open_client` waits for that process, as for any
    that makes the same file; where it failed, it makes the file itself or tells why it cannot.
    """
    if not _is_missing(places.tracking_uri) or _processors() < 2:
        yield False
        return
    process = _SPAWN.Process(target=_make, args=(places,), name="new-stores")
    process.start()
    try:
        yield True
    except KeyboardInterrupt:
        # What it has begun, it removes.
        process.terminate()
        process.join(LAST_SECONDS)
        process.kill()
        raise
    finally:
        process.join()


def _make(places: StoreLocations) -> None:
    # Ctrl-C goes to every process of a terminal; this one leaves nothing half done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    from embedsweep.stores.connection import open_client

    with suppress(UserError):
        open_client(places)


def _is_missing(address: str) -> bool:
    from embedsweep.stores.addresses import scheme_of, sqlite_file

    return scheme_of(address) == "sqlite" and not sqlite_file(address).exists()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
