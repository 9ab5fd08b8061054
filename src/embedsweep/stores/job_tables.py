"""The tables of the job book, and its database: opened once, their schema made once."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection

from embedsweep.core.errors import UsageError
from embedsweep.stores.addresses import DATABASE_URL, masked, scheme_of, sqlite_file
from embedsweep.stores.locks import exclusive
from embedsweep.stores.reach import PATIENCE, reach_database
from embedsweep.stores.store_errors import store_errors

_BUSY_SECONDS = 60
_SCHEMA_LOCK = 0x656D6265
"""Number of PostgreSQL's advisory lock that is held while the tables are made."""

METADATA = MetaData()

SCOPES = Table(
    "embedsweep_scopes",
    METADATA,
    Column("scope", String(200), primary_key=True),
    Column("billionths", BigInteger, nullable=False),
)
"""What each scope has spent: the sum of its entries, kept so that it can be checked and raised in
one statement."""

SPENDING = Table(
    "embedsweep_spending",
    METADATA,
    Column("entry", Integer, primary_key=True, autoincrement=True),
    Column("scope", String(200), ForeignKey(SCOPES.c.scope), nullable=False, index=True),
    Column("at", Float, nullable=False),
    Column("what", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("billionths", BigInteger, nullable=False),
)

JOBS = Table(
    "embedsweep_jobs",
    METADATA,
    Column("key", String(64), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("provider", String(500), nullable=False),
    Column("scope", String(200), nullable=False),
    Column("state", String(20), nullable=False),
    Column("holder", String(200), nullable=False),
    Column("held_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("entry", Integer, ForeignKey(SPENDING.c.entry)),
    Column("file_id", Text),
    Column("job_id", String(200)),
    Column("model", Text),
    Column("message", Text, nullable=False),
)

_LIVE = JOBS.c.state.in_(["submitted", "succeeded"])
Index(
    "embedsweep_jobs_once",
    JOBS.c.provider,
    JOBS.c.job_id,
    unique=True,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)
# No two keys can take one job for theirs.

UPLOADS = Table(
    "embedsweep_uploads",
    METADATA,
    Column("provider", String(500), primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("file_id", Text, nullable=False),
)


def open_engine(url: str) -> Engine:
    """The book's database with its tables.

    Args:
        url: ``sqlite:///…`` or ``postgresql://…``; the study's own database will do.

    Raises:
        UsageError: The URL is neither.
        StoreError: The database does not answer.
    """
    scheme = scheme_of(url)
    if scheme == "sqlite":
        file = sqlite_file(url)
        lock = file.with_name(f"{file.name}.lock")
        with exclusive(lock), store_errors(url, "open the job book"):
            return _sqlite(url)
    if scheme == "postgresql":
        reach_database(url)
        with store_errors(url, "open the job book"):
            return _postgresql(url)
    raise UsageError(
        f"job book's address {masked(url)!r}",
        "the settings of the stores",
        "a job book lives in SQLite or PostgreSQL",
        DATABASE_URL,
    )


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    # Python's driver begins a transaction at the first change only, and then without waiting for
    # its turn; a transaction here reads first and must not be refused later.
    @event.listens_for(engine, "connect")
    def leave_transactions_to_us(connection: DBAPIConnection, _record: object) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def take_turns(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    with engine.begin() as connection:
        METADATA.create_all(connection)
    return engine


def _postgresql(url: str) -> Engine:
    engine = create_engine(
        url,
        # A server may close idle connections while a job is waited for.
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=8,
        connect_args={"application_name": "embedsweep", "connect_timeout": PATIENCE},
    )
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _SCHEMA_LOCK})
        METADATA.create_all(connection)
    return engine
