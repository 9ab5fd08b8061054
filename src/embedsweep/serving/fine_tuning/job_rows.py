"""Jobs and what belongs to them, from the database's rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from embedsweep.serving.fine_tuning.identifiers import new_id
from embedsweep.serving.fine_tuning.records import (
    Checkpoint,
    Job,
    JobError,
    JobEvent,
    JobStatus,
    NewJob,
    TunedModel,
)


def job_of(row: sqlite3.Row, metadata: Mapping[str, str]) -> Job:
    return Job(
        id=row["id"],
        owner=row["owner"],
        status=JobStatus(row["status"]),
        asked=NewJob(
            model=row["model"],
            training_file=row["training_file"],
            validation_file=row["validation_file"],
            suffix=row["suffix"],
            seed=row["seed"],
            metadata=metadata,
            hyperparameters=json.loads(row["hyperparameters"]),
        ),
        model_id=row["model_id"],
        created_at=row["created_at"],
        attempts=row["attempts"],
        recipe=json.loads(row["recipe"]) if row["recipe"] else None,
        error=JobError(**json.loads(row["error"])) if row["error"] else None,
        fine_tuned_model=row["fine_tuned_model"],
        result_file=row["result_file"],
        trained_tokens=row["trained_tokens"],
        finished_at=row["finished_at"],
        estimated_finish=row["estimated_finish"],
    )


def event_of(row: sqlite3.Row) -> JobEvent:
    return JobEvent(
        id=row["id"],
        created_at=row["created_at"],
        level=row["level"],
        message=row["message"],
        type=row["type"],
        data=json.loads(row["data"]),
    )


def checkpoint_of(row: sqlite3.Row) -> Checkpoint:
    return Checkpoint(
        id=row["id"],
        job_id=row["job"],
        created_at=row["created_at"],
        model_id=row["model"],
        step=row["step"],
        metrics=json.loads(row["metrics"]),
    )


def model_of(row: sqlite3.Row) -> TunedModel:
    return TunedModel(
        id=row["id"],
        owner=row["owner"],
        job_id=row["job"],
        folder=row["folder"],
        created_at=row["created_at"],
        step=row["step"],
    )


def add_event(
    rows: sqlite3.Connection,
    job_id: str,
    now: int,
    message: str,
    level: str = "info",
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Note in a job's history what happened; with metrics it is an event of that type."""
    kind = "message" if metrics is None else "metrics"
    rows.execute(
        "INSERT INTO events (id, job, created_at, level, message, type, data)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new_id("ftevent"), job_id, now, level, message, kind, json.dumps(metrics or {})),
    )


def add_model(rows: sqlite3.Connection, model: TunedModel) -> None:
    rows.execute(
        "INSERT INTO models (id, owner, job, folder, created_at, step) VALUES (?, ?, ?, ?, ?, ?)",
        (model.id, model.owner, model.job_id, model.folder, model.created_at, model.step),
    )
