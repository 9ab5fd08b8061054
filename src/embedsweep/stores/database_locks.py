"""Locks in PostgreSQL, for the processes of several machines; they end with their connection."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from embedsweep.core.errors import Refusal, StoreError, Superseded
from embedsweep.stores.addresses import masked, scheme_of
from embedsweep.stores.reach import PATIENCE, reach_database
from embedsweep.stores.store_errors import store_errors

_KEY = "hashtextextended(:name, 0)"
_HOLDER = f"""
SELECT activity.application_name,
       to_char(activity.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((held.classid::bigint << 32) | held.objid::bigint) = {_KEY}
"""  # noqa: S608 - a constant
# The server notices within a minute if the machine of a holder is gone.
_KEEPALIVE = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


@contextmanager
def advisory_lock(url: str, name: str, action: str) -> Iterator[None]:
    """Hold the lock of that name. Other callers wait until it is released.

    Args:
        url: The ``postgresql://…`` database that holds the lock.
        name: The lock.
        action: What the lock is for, such as ``make the schema``.

    Raises:
        StoreError: If the database does not answer.
    """
    with store_errors(url, action):
        connection = _connect(url)
    with connection:
        with store_errors(url, action):
            connection.execute(text(f"SELECT pg_advisory_lock({_KEY})"), {"name": name})
        yield


def schema_lock(url: str) -> AbstractContextManager[None]:
    """The lock under which libraries make their tables, which two at once would break."""
    return advisory_lock(url, "embedsweep schema", "make the schema")


@contextmanager
def owned_sweep(url: str, name: str) -> Iterator[Callable[[], None]]:
    """Be the only coordinator of a sweep on all machines that share the study database.

    Args:
        url: The study database. For SQLite nothing is locked, because the lock files of its one
            machine do that.
        name: The sweep's name.

    Yields:
        Raises unless the lock is still held. If the connection was lost, it is a `StoreError`, or
        `Superseded` if another coordinator has the lock.

    Raises:
        Refusal: If another coordinator runs the sweep.
        UsageError: If the driver is not installed.
        StoreError: If the database does not answer.
    """
    if scheme_of(url) != "postgresql":
        yield lambda: None
        return
    reach_database(url)
    with ExitStack() as held:
        connection = _take(url, name, held)

        def check_owner() -> None:
            nonlocal connection
            try:
                connection.execute(text("SELECT 1"))
            except SQLAlchemyError:
                connection.invalidate()
                # Taken again, so that what is written of the end is no other coordinator's.
                try:
                    connection = _take(url, name, held)
                except Refusal as refusal:
                    raise Superseded.of(refusal.faults) from None
                raise StoreError(
                    f"lock of sweep {name!r}",
                    masked(url),
                    "the connection that held it was lost, so another coordinator could have run",
                    "run the same command again; the sweep continues where it stopped",
                ) from None

        yield check_owner


def _take(url: str, name: str, held: ExitStack) -> Connection:
    """A connection that holds the lock of the sweep, closed at the end of `held`."""
    key = {"name": f"embedsweep sweep {name}"}
    with store_errors(url, "lock the sweep"):
        connection = held.enter_context(_connect(url))
        if connection.execute(text(f"SELECT pg_try_advisory_lock({_KEY})"), key).scalar():
            return connection
        holder = connection.execute(text(_HOLDER), key).first()
    who, since = holder if holder is not None else ("", "")
    host, _, pid = str(who or "").removeprefix("embedsweep ").rpartition(" ")
    process = f"process {pid} on {host}" if host else "another coordinator"
    raise Refusal(
        f"sweep {name!r}",
        masked(url),
        f"{process} has run it since {since} UTC, and one coordinator at a time may",
        f"wait until {process} ends, or stop it; then the same command continues the sweep",
    )


def _connect(url: str) -> Connection:
    # PostgreSQL cuts the name at 63 bytes.
    name = f"embedsweep {socket.gethostname()[:40]} {os.getpid()}"
    engine = create_engine(
        url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={
            "application_name": name,
            "connect_timeout": PATIENCE,
            "options": _KEEPALIVE,
        },
    )
    return engine.connect()
