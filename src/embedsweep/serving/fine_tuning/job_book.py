"""Jobs as clients see them: asked for, looked at, cancelled. Each is seen by its owner alone."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from typing import Literal

from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.database import Database, cursor
from embedsweep.serving.fine_tuning.disk import NOT_AGAIN
from embedsweep.serving.fine_tuning.identifiers import new_id, new_model_id
from embedsweep.serving.fine_tuning.job_rows import add_event, checkpoint_of, event_of, job_of
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.records import (
    Checkpoint,
    Job,
    JobEvent,
    JobStatus,
    NewJob,
    Page,
)

logger = logging.getLogger(__name__)

LAST_ROW = 2**63 - 1
"""SQLite's rows are numbered up to this."""

RETRY_LATER = {"Retry-After": "10"}


class JobBook:
    """What clients ask of jobs.

    Args:
        database: Rows.
        limits: How many jobs may wait and run.
        clock: Unix seconds.
    """

    def __init__(
        self, database: Database, limits: FineTuningLimits, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock

    def create(self, owner: str, asked: NewJob) -> Job:
        """Take a job on. Asked twice, it is two jobs.

        Raises:
            ApiError: 429 when too many wait already or too many models are kept, 400 when a file
                is not there.
        """
        now = int(self._clock())
        job_id, model_id = new_id("ftjob"), new_model_id(asked.model, asked.suffix)
        with self._database.transaction() as rows:
            self._check_queue(rows, owner)
            self._check_models(rows, owner)
            for param in ("training_file", "validation_file"):
                self._check_file(rows, owner, param, getattr(asked, param))
            rows.execute(
                "INSERT INTO jobs (id, owner, status, model, model_id, training_file,"
                " validation_file, suffix, seed, hyperparameters, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job_id,
                    owner,
                    JobStatus.VALIDATING_FILES.value,
                    asked.model,
                    model_id,
                    asked.training_file,
                    asked.validation_file,
                    asked.suffix,
                    asked.seed,
                    json.dumps(dict(asked.hyperparameters)),
                    now,
                ),
            )
            rows.executemany(
                "INSERT INTO metadata (job, key, value) VALUES (?, ?, ?)",
                [(job_id, key, value) for key, value in asked.metadata.items()],
            )
            add_event(rows, job_id, now, f"Created fine-tuning job: {job_id}")
            files = " and ".join(filter(None, (asked.training_file, asked.validation_file)))
            add_event(rows, job_id, now, f"Validating training file: {files}")
        logger.info("%s: %s", job_id, JobStatus.VALIDATING_FILES.value)
        return self.get(job_id, owner)

    def _check_queue(self, rows: sqlite3.Connection, owner: str) -> None:
        of_all = rows.execute("SELECT COUNT(*) FROM live_jobs").fetchone()[0]
        of_owner = rows.execute(
            "SELECT COUNT(*) FROM live_jobs WHERE owner = ?", (owner,)
        ).fetchone()[0]
        for count, most, whose in (
            (of_owner, self._limits.jobs_per_owner, "of this key"),
            (of_all, self._limits.jobs, "in all"),
        ):
            if count >= most:
                message = f"{count} jobs {whose} wait or run, no more are taken; try again later"
                raise ApiError(429, "rate_limit_exceeded", message, headers=RETRY_LATER)

    def _check_models(self, rows: sqlite3.Connection, owner: str) -> None:
        query = (
            "SELECT COUNT(*) FROM (SELECT job FROM models WHERE owner = ?"
            " UNION SELECT id FROM live_jobs WHERE owner = ?)"
        )
        count, most = (
            rows.execute(query, (owner, owner)).fetchone()[0],
            self._limits.models_per_owner,
        )
        if count >= most:
            message = (
                f"this key keeps {count} fine-tuned models, those of its live jobs included; "
                f"at most {most} are kept; delete some"
            )
            raise ApiError(429, "insufficient_quota", message, headers=NOT_AGAIN)

    def _check_file(
        self, rows: sqlite3.Connection, owner: str, param: str, file_id: str | None
    ) -> None:
        if file_id is None:
            return
        row = rows.execute(
            "SELECT purpose FROM files WHERE id = ? AND owner = ? AND NOT is_deleted"
            " AND (expires_at IS NULL OR expires_at > ?)",
            (file_id, owner, self._clock()),
        ).fetchone()
        if row is None:
            message = f"{param}: there is no file {file_id[:100]!r}"
            raise ApiError(400, "file_not_found", message, param)
        if row["purpose"] != "fine-tune":
            message = f"{param}: {file_id} has the purpose {row['purpose']!r}, expected 'fine-tune'"
            raise ApiError(400, "invalid_file_purpose", message, param)

    def get(self, job_id: str, owner: str) -> Job:
        """The owner's job; raises `ApiError` 404 where there is none."""
        row = self._database.row("SELECT * FROM jobs WHERE id = ? AND owner = ?", (job_id, owner))
        if row is None:
            message = f"Could not find fine tune: {job_id[:100]!r}"
            raise ApiError(404, "fine_tune_not_found", message, "fine_tuning_job_id")
        return job_of(row, self._metadata(job_id))

    def page(
        self, owner: str, after: str | None, limit: int, metadata: Mapping[str, str] | None
    ) -> Page[Job]:
        """The owner's jobs, newest first.

        Args:
            owner: Whose.
            after: Id of the job the page begins after.
            limit: How many.
            metadata: Pairs a job must have; None for jobs that have none.
        """
        query = "SELECT * FROM jobs WHERE owner = ?"
        values: list[object] = [owner]
        if metadata is None:
            query += " AND NOT EXISTS (SELECT 1 FROM metadata WHERE job = jobs.id)"
        for pair in (metadata or {}).items():
            query += " AND (?, ?) IN (SELECT key, value FROM metadata WHERE job = jobs.id)"
            values += pair
        if after is not None:
            row = self._database.row(
                "SELECT number FROM jobs WHERE id = ? AND owner = ?", (after, owner)
            )
            query += " AND number < ?"
            values.append(cursor(row, after))
        query += " ORDER BY number DESC LIMIT ?"
        found = self._database.rows(query, (*values, limit + 1))
        jobs = [job_of(row, self._metadata(row["id"])) for row in found[:limit]]
        return Page(jobs, len(found) > limit)

    def _metadata(self, job_id: str) -> dict[str, str]:
        rows = self._database.rows("SELECT key, value FROM metadata WHERE job = ?", (job_id,))
        return {row["key"]: row["value"] for row in rows}

    def events(self, job_id: str, owner: str, after: str | None, limit: int) -> Page[JobEvent]:
        """What happened to the owner's job, newest first."""
        rows, has_more = self._newest("events", self.get(job_id, owner), after, limit)
        return Page([event_of(row) for row in rows], has_more)

    def checkpoints(
        self, job_id: str, owner: str, after: str | None, limit: int
    ) -> Page[Checkpoint]:
        """What the owner's job has left so far, newest first."""
        rows, has_more = self._newest("checkpoints", self.get(job_id, owner), after, limit)
        return Page([checkpoint_of(row) for row in rows], has_more)

    def _newest(
        self, table: Literal["events", "checkpoints"], job: Job, after: str | None, limit: int
    ) -> tuple[list[sqlite3.Row], bool]:
        # The table is one of two literals: nothing a client sends gets into the statements.
        known = f"SELECT number FROM {table} WHERE id = ? AND job = ?"  # noqa: S608
        newest = f"SELECT * FROM {table} WHERE job = ? AND number < ? ORDER BY number DESC LIMIT ?"  # noqa: S608
        before = LAST_ROW
        if after is not None:
            before = cursor(self._database.row(known, (after, job.id)), after)
        found = self._database.rows(newest, (job.id, before, limit + 1))
        return found[:limit], len(found) > limit

    def cancel(self, job_id: str, owner: str) -> Job:
        """End the owner's job, and forget the checkpoints it has left.

        Raises:
            ApiError: 404 where there is none, 400 when it has ended already.
        """
        job = self.get(job_id, owner)
        now = int(self._clock())
        with self._database.transaction() as rows:
            changed = rows.execute(
                "UPDATE jobs SET status = ?, finished_at = ?, estimated_finish = NULL"
                " WHERE id IN (SELECT id FROM live_jobs) AND id = ?",
                (JobStatus.CANCELLED.value, now, job_id),
            )
            if changed.rowcount == 0:
                message = f"Job has already ended: {job_id} is {job.status.value}"
                raise ApiError(400, "job_has_ended", message, "fine_tuning_job_id")
            rows.execute("DELETE FROM models WHERE job = ?", (job_id,))
            add_event(rows, job_id, now, "The job was cancelled")
        logger.info("%s: %s", job_id, JobStatus.CANCELLED.value)
        return self.get(job_id, owner)
