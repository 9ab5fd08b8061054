"""Whether a database server answers, within seconds."""

from __future__ import annotations

import sqlalchemy

from embedsweep.core.errors import UsageError
from embedsweep.stores.addresses import DATABASE_URL, masked
from embedsweep.stores.store_errors import store_errors

PATIENCE = 5
"""Seconds to wait for the first answer of a server."""

_DRIVERS = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


def reach_database(url: str) -> None:
    """Connect to a database server once, within seconds.

    Raises:
        UsageError: Its Python driver is not installed, or the URL is none.
        StoreError: It does not answer or refuses the user.
    """
    try:
        engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": PATIENCE})
    except ImportError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        raise UsageError(
            f"Python module {error.name}",
            "this environment",
            f"it is not installed, and {masked(url)} needs it",
            f"run `pip install '{package}'`",
        ) from error
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(
            f"database address {masked(url)!r}",
            "the settings of the stores",
            "it is no database URL",
            DATABASE_URL,
        ) from error
    with store_errors(url, "connect to the database"):
        engine.connect().close()
    engine.dispose()
