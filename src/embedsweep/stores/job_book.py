"""The job book in a database: jobs submitted once, whoever asks, and money spent within its cap."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from embedsweep.core.errors import Refusal, StoreError, UsageError
from embedsweep.core.jobs import (
    Account,
    Charge,
    Claim,
    JobBook,
    JobEnd,
    JobRecord,
    JobState,
)
from embedsweep.stores import money
from embedsweep.stores.job_tables import JOBS, SPENDING, UPLOADS, open_engine
from embedsweep.stores.owner import Owner
from embedsweep.stores.store_errors import tells_store_errors

LEASE = 900.0
"""Seconds after which an intent of another machine, not renewed, counts as left behind."""

_NOBODY = ""
_TO_BE_MADE_ANEW = (JobState.FAILED, JobState.CANCELLED)


class SqlJobBook:
    """Fulfils `core.jobs.JobBook`.

    Args:
        url: ``sqlite:///…`` for the processes of one machine, ``postgresql://…`` for several.
        clock: Unix seconds.
        owner: Who claims; this process.
        lease: See `LEASE`.

    Raises:
        UsageError: The URL is of no use.
        StoreError: The database does not answer.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        owner: Owner | None = None,
        lease: float = LEASE,
    ) -> None:
        self.address = url
        self._engine = open_engine(url)
        self._clock = clock
        self._owner = owner or Owner.here()
        self._lease = lease

    def close(self) -> None:
        self._engine.dispose()

    @tells_store_errors("claim a job")
    def claim(self, key: str, charge: Charge, account: Account) -> Claim:
        with self._engine.begin() as connection:
            latest = _latest(connection, key)
            if latest is None or JobState(latest.state) in _TO_BE_MADE_ANEW:
                attempt = 1 if latest is None else latest.attempt + 1
                if self._intend(connection, (key, attempt), charge, account):
                    record = _record(_wanted(connection, key))
                    return Claim(record, is_mine=True, is_new=True)
                # Another one was quicker; its row is there by now.
                latest = _wanted(connection, key)
            is_mine = (
                latest.state == JobState.INTENDED
                and self._is_left(latest)
                and self._take(connection, latest)
            )
            return Claim(_record(latest), is_mine=is_mine)

    @tells_store_errors("renew a claim")
    def renew(self, record: JobRecord) -> None:
        with self._engine.begin() as connection:
            change = update(JOBS).where(*self._held(record)).values(held_at=self._clock())
            if connection.execute(change).rowcount == 0:
                raise _lost(record)

    @tells_store_errors("release a claim")
    def release(self, record: JobRecord) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(JOBS).where(*self._held(record)).values(holder=_NOBODY))

    @tells_store_errors("withdraw a job")
    def withdraw(self, record: JobRecord) -> None:
        with self._engine.begin() as connection:
            _forget(connection, self._held(record))

    @tells_store_errors("record a job")
    def submitted(self, record: JobRecord, job_id: str, file_id: str) -> JobRecord:
        values = {"state": JobState.SUBMITTED.value, "job_id": job_id, "file_id": file_id}
        with self._engine.begin() as connection:
            _refuse_double(connection, record, job_id)
            change = update(JOBS).where(*self._held(record)).values(**values)
            if connection.execute(change).rowcount == 0:
                raise _lost(record)
            return _record(_wanted(connection, record.key))

    @tells_store_errors("record a job's end")
    def ended(self, record: JobRecord, end: JobEnd) -> JobRecord:
        open_still = or_(
            JOBS.c.state == JobState.SUBMITTED,
            and_(JOBS.c.state == JobState.SUCCEEDED, JOBS.c.model.is_(None)),
        )
        values = {"state": end.state.value, "model": end.model, "message": end.message}
        with self._engine.begin() as connection:
            change = update(JOBS).where(*_row_of(record), open_still).values(**values)
            if connection.execute(change).rowcount:
                row = _wanted(connection, record.key, record.attempt)
                tokens = row.tokens if end.tokens is None else end.tokens
                cost = money.amount(row.billionths) if end.cost is None else end.cost
                money.settle(connection, row.entry, tokens, cost)
            return _record(_wanted(connection, record.key, record.attempt))

    @tells_store_errors("find a job")
    def find(self, key: str) -> JobRecord | None:
        with self._engine.begin() as connection:
            row = _latest(connection, key)
            return None if row is None else _record(row)

    @tells_store_errors("list the jobs")
    def jobs(self) -> list[JobRecord]:
        order = (JOBS.c.created_at, JOBS.c.key, JOBS.c.attempt)
        with self._engine.begin() as connection:
            return [_record(row) for row in connection.execute(_JOBS.order_by(*order))]

    @tells_store_errors("give a job up")
    def resubmit(self, key: str) -> JobRecord:
        with self._engine.begin() as connection:
            row = _latest(connection, key)
            if row is None:
                raise UsageError(
                    f"job {key}",
                    "the job book",
                    "it has no such job",
                    "name one that `embedsweep jobs` lists",
                )
            record = _record(row)
            if record.state is not JobState.INTENDED:
                given_up = {"state": JobState.CANCELLED.value, "message": "given up by hand"}
                left = JOBS.c.state.in_((JobState.SUBMITTED, JobState.SUCCEEDED))
                connection.execute(update(JOBS).where(*_row_of(record), left).values(**given_up))
            elif self._is_left(row):
                _forget(connection, [*_row_of(record), JOBS.c.holder == row.holder])
            else:
                raise Refusal(
                    f"job {key}",
                    "the job book",
                    f"{_in_words(row.holder)} is submitting it",
                    "wait until it has, or stop it",
                )
            return record

    @tells_store_errors("look up an upload")
    def upload(self, provider: str, digest: str) -> str | None:
        wanted = and_(UPLOADS.c.provider == provider, UPLOADS.c.digest == digest)
        with self._engine.begin() as connection:
            return connection.scalar(select(UPLOADS.c.file_id).where(wanted))

    @tells_store_errors("record an upload")
    def uploaded(self, provider: str, digest: str, file_id: str) -> None:
        with self._engine.begin() as connection:
            row = _insert(connection)(UPLOADS).values(
                provider=provider, digest=digest, file_id=file_id
            )
            key = [UPLOADS.c.provider, UPLOADS.c.digest]
            connection.execute(
                row.on_conflict_do_update(index_elements=key, set_={"file_id": file_id})
            )

    @tells_store_errors("record a charge")
    def debit(self, charge: Charge, account: Account) -> int:
        with self._engine.begin() as connection:
            return money.debit(connection, charge, account, self._clock())

    @tells_store_errors("settle a charge")
    def settle(self, entry: int, tokens: int, cost: float) -> None:
        with self._engine.begin() as connection:
            money.settle(connection, entry, tokens, cost)

    @tells_store_errors("list the charges")
    def entries(self, scope: str) -> list[Charge]:
        wanted = select(SPENDING).where(SPENDING.c.scope == scope).order_by(SPENDING.c.entry)
        with self._engine.begin() as connection:
            return [
                Charge(row.what, row.provider, row.model, row.tokens, money.amount(row.billionths))
                for row in connection.execute(wanted)
            ]

    @tells_store_errors("add up the charges")
    def spent(self, scope: str) -> float:
        with self._engine.begin() as connection:
            return money.spent(connection, scope)

    def _intend(
        self, connection: Connection, name: tuple[str, int], charge: Charge, account: Account
    ) -> bool:
        """Insert the attempt and debit its cost, or find that another one has."""
        key, attempt = name
        row = _insert(connection)(JOBS).values(
            key=key,
            attempt=attempt,
            provider=charge.provider,
            scope=account.scope,
            state=JobState.INTENDED.value,
            holder=str(self._owner),
            held_at=self._clock(),
            created_at=self._clock(),
            message="",
        )
        # Not by the count of rows, which not every driver tells of an insert.
        if connection.scalar(row.on_conflict_do_nothing().returning(JOBS.c.attempt)) is None:
            return False
        entry = money.debit(connection, charge, account, self._clock())
        this = and_(JOBS.c.key == key, JOBS.c.attempt == attempt)
        connection.execute(update(JOBS).where(this).values(entry=entry))
        return True

    def _is_left(self, row: Row[Any]) -> bool:
        """Whether whoever held the intent is gone, or let go of it."""
        if row.holder == _NOBODY:
            return True
        if row.holder == str(self._owner):
            return False
        holder = Owner.parse(row.holder)
        if holder is not None and holder.host == self._owner.host:
            return not holder.is_alive_beside()
        return bool(row.held_at + self._lease < self._clock())

    def _take(self, connection: Connection, row: Row[Any]) -> bool:
        change = (
            update(JOBS)
            .where(
                JOBS.c.key == row.key,
                JOBS.c.attempt == row.attempt,
                JOBS.c.state == JobState.INTENDED,
                JOBS.c.holder == row.holder,
                JOBS.c.held_at == row.held_at,
            )
            .values(holder=str(self._owner), held_at=self._clock())
        )
        return connection.execute(change).rowcount == 1

    def _held(self, record: JobRecord) -> list[ColumnElement[bool]]:
        return [
            *_row_of(record),
            JOBS.c.state == JobState.INTENDED,
            JOBS.c.holder == str(self._owner),
        ]


_JOBS = select(JOBS, SPENDING.c.tokens, SPENDING.c.billionths).join(SPENDING)


def _row_of(record: JobRecord) -> list[ColumnElement[bool]]:
    return [JOBS.c.key == record.key, JOBS.c.attempt == record.attempt]


def _latest(connection: Connection, key: str, attempt: int | None = None) -> Row[Any] | None:
    wanted = _JOBS.where(JOBS.c.key == key).order_by(JOBS.c.attempt.desc()).limit(1)
    if attempt is not None:
        wanted = wanted.where(JOBS.c.attempt == attempt)
    return connection.execute(wanted).one_or_none()


def _wanted(connection: Connection, key: str, attempt: int | None = None) -> Row[Any]:
    row = _latest(connection, key, attempt)
    if row is None:
        raise Refusal(
            f"job {key}",
            "the job book",
            "another process withdrew it meanwhile",
            "run the command again",
        )
    return row


def _forget(connection: Connection, where: list[ColumnElement[bool]]) -> None:
    """Remove an intent and credit its cost back; the entry stays, at nothing."""
    entry = connection.scalar(select(JOBS.c.entry).where(*where))
    if entry is not None and connection.execute(delete(JOBS).where(*where)).rowcount:
        money.settle(connection, entry, 0, 0.0)


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(
        key=row.key,
        attempt=row.attempt,
        provider=row.provider,
        scope=row.scope,
        state=JobState(row.state),
        created_at=row.created_at,
        tokens=row.tokens,
        cost=money.amount(row.billionths),
        file_id=row.file_id,
        job_id=row.job_id,
        model=row.model,
        message=row.message,
    )


def _refuse_double(connection: Connection, record: JobRecord, job_id: str) -> None:
    """Refuse a job that is another key's; should two come at once, the index refuses the second."""
    at = and_(JOBS.c.provider == record.provider, JOBS.c.job_id == job_id)
    live = JOBS.c.state.in_((JobState.SUBMITTED, JobState.SUCCEEDED))
    key = connection.scalar(select(JOBS.c.key).where(at, live))
    if key is not None:
        raise StoreError(
            f"job {job_id}",
            f"provider {record.provider}",
            f"it gave this id before, to job {key}; an id is given once",
            f"if it was set up anew, run `embedsweep jobs resubmit {key} --yes`",
        )


def _insert(connection: Connection) -> Callable[..., Any]:
    return sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert


def _lost(record: JobRecord) -> Refusal:
    return Refusal(
        f"job {record.key}",
        "the job book",
        "another process took it up meanwhile",
        "run the command again",
    )


def _in_words(holder: str) -> str:
    owner = Owner.parse(holder)
    return "another process" if owner is None else f"process {owner.pid} of {owner.host}"


_: type[JobBook] = SqlJobBook
