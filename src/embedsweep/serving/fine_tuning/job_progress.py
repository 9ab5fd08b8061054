"""Jobs as the workers see them: taken up, reported on, ended."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from embedsweep.core.recipe import LocalRecipe, recipe_as_dict
from embedsweep.serving.fine_tuning.database import Database
from embedsweep.serving.fine_tuning.hyperparameters import Value
from embedsweep.serving.fine_tuning.identifiers import checkpoint_model_id, new_id
from embedsweep.serving.fine_tuning.job_rows import add_event, add_model, job_of, model_of
from embedsweep.serving.fine_tuning.records import Job, JobError, JobStatus, TunedModel

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""A job during whose training the server has died so often is not begun again."""


class JobProgress:
    """What workers do to jobs. A job that was cancelled meanwhile stays so, whatever they report.

    Args:
        database: Rows.
        checkpoints: How many are kept of a job.
        clock: Unix seconds.
    """

    def __init__(self, database: Database, checkpoints: int, clock: Callable[[], float]) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._clock = clock

    def recover(self) -> None:
        """Queue again what a server that died was training."""
        for row in self._database.rows("SELECT id FROM jobs WHERE status = 'running'"):
            self.requeue(row["id"], "The server ended while the job ran")

    def next_to_validate(self) -> Job | None:
        """The oldest job whose files are not checked yet."""
        row = self._database.row(
            "SELECT * FROM jobs WHERE status = 'validating_files' ORDER BY number LIMIT 1"
        )
        return None if row is None else job_of(row, {})

    def accept(
        self, job: Job, recipe: LocalRecipe, hyperparameters: Mapping[str, Value], rows: int
    ) -> None:
        """The files are valid: put the job in the queue."""
        with self._database.transaction() as database:
            changed = database.execute(
                "UPDATE jobs SET status = 'queued', recipe = ?, hyperparameters = ?"
                " WHERE id = ? AND status = 'validating_files'",
                (json.dumps(recipe_as_dict(recipe)), json.dumps(dict(hyperparameters)), job.id),
            )
            if changed.rowcount:
                message = f"Files validated ({rows} rows), moving job to queued state"
                add_event(database, job.id, self._now(), message)
        self._log(job.id, JobStatus.QUEUED)

    def begin_next(self) -> Job | None:
        """Set the oldest job of the queue running; None if the queue is empty."""
        with self._database.transaction() as rows:
            row = rows.execute(
                "SELECT * FROM jobs WHERE status = 'queued' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            rows.execute(
                "UPDATE jobs SET status = 'running', attempts = attempts + 1 WHERE id = ?",
                (row["id"],),
            )
            add_event(rows, row["id"], self._now(), "Fine-tuning job started")
        self._log(row["id"], JobStatus.RUNNING)
        return job_of(row, {})

    def say(self, job: Job, message: str, metrics: Mapping[str, Any] | None = None) -> None:
        with self._database.transaction() as rows:
            add_event(rows, job.id, self._now(), message, metrics=metrics)

    def estimate(self, job: Job, seconds_left: float) -> None:
        with self._database.transaction() as rows:
            rows.execute(
                "UPDATE jobs SET estimated_finish = ? WHERE id = ? AND status = 'running'",
                (int(self._clock() + seconds_left), job.id),
            )

    def add_checkpoint(
        self, job: Job, folder: str, step: int, metrics: Mapping[str, float]
    ) -> list[TunedModel] | None:
        """List a checkpoint; it can be asked for from now on.

        Returns:
            The checkpoints that had to go for it, their rows removed; None when the job is not
            running any more and the checkpoint was not taken.
        """
        now, model_id = self._now(), checkpoint_model_id(job.model_id, step)
        with self._database.transaction() as rows:
            if not _is_running(rows, job):
                return None
            add_model(rows, TunedModel(model_id, job.owner, job.id, folder, now, step))
            rows.execute(
                "INSERT INTO checkpoints (id, job, created_at, model, step, metrics)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (new_id("ftckpt"), job.id, now, model_id, step, json.dumps(dict(metrics))),
            )
            message = f"Checkpoint created at step {step} with Snapshot ID: {model_id}"
            add_event(rows, job.id, now, message)
            gone = rows.execute(
                "SELECT * FROM models WHERE job = ? AND step IS NOT NULL"
                " ORDER BY number DESC LIMIT -1 OFFSET ?",
                (job.id, self._checkpoints),
            ).fetchall()
            rows.executemany("DELETE FROM models WHERE id = ?", [(row["id"],) for row in gone])
        logger.info("%s: checkpoint at step %d", job.id, step)
        return [model_of(row) for row in gone]

    def succeed(self, job: Job, folder: str, tokens: int, result_file: str) -> bool:
        """Give the job its model; False when it is not running any more."""
        now = self._now()
        with self._database.transaction() as rows:
            if not _is_running(rows, job):
                return False
            add_model(rows, TunedModel(job.model_id, job.owner, job.id, folder, now))
            rows.execute(
                "UPDATE jobs SET status = 'succeeded', fine_tuned_model = model_id,"
                " trained_tokens = ?, result_file = ?, finished_at = ?, estimated_finish = NULL"
                " WHERE id = ?",
                (tokens, result_file, now, job.id),
            )
            add_event(rows, job.id, now, f"New fine-tuned model created: {job.model_id}")
            add_event(rows, job.id, now, "The job has successfully completed")
        self._log(job.id, JobStatus.SUCCEEDED)
        return True

    def fail(self, job: Job, error: JobError) -> bool:
        """End the job with an error; False when it has ended already."""
        now = self._now()
        with self._database.transaction() as rows:
            changed = rows.execute(
                "UPDATE jobs SET status = 'failed', error = ?, finished_at = ?,"
                " estimated_finish = NULL WHERE id IN (SELECT id FROM live_jobs) AND id = ?",
                (json.dumps(asdict(error)), now, job.id),
            )
            if changed.rowcount == 0:
                return False
            message = f"The job failed: {error.code}: {error.message}"
            add_event(rows, job.id, now, message, level="error")
        self._log(job.id, JobStatus.FAILED)
        return True

    def requeue(self, job_id: str, why: str, is_counted: bool = True) -> None:
        """Put a running job back into the queue, in its old place, to train from the start.

        Args:
            job_id: The job.
            why: What happened.
            is_counted: Whether it is held against the job; too often, and it fails.
        """
        now = self._now()
        with self._database.transaction() as rows:
            changed = rows.execute(
                "UPDATE jobs SET status = 'queued', attempts = attempts - ?,"
                " estimated_finish = NULL WHERE id = ? AND status = 'running'",
                (0 if is_counted else 1, job_id),
            )
            if changed.rowcount == 0:
                return
            rows.execute("DELETE FROM models WHERE job = ?", (job_id,))
            message = f"{why}; the job is queued again and will train from the start"
            add_event(rows, job_id, now, message, level="warn")
            row = rows.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        self._log(job_id, JobStatus.QUEUED)
        if row["attempts"] >= ATTEMPTS:
            why = f"the server ended {ATTEMPTS} times while the job ran"
            self.fail(job_of(row, {}), JobError("server_error", why))

    def _now(self) -> int:
        return int(self._clock())

    def _log(self, job_id: str, status: JobStatus) -> None:
        logger.info("%s: %s", job_id, status.value)


def _is_running(rows: sqlite3.Connection, job: Job) -> bool:
    found = rows.execute(
        "SELECT 1 FROM jobs WHERE id = ? AND status = 'running'", (job.id,)
    ).fetchone()
    return found is not None
