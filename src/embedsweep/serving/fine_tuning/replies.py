"""Files, jobs, events and checkpoints as they go over the wire, in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from embedsweep.serving.fine_tuning.identifiers import ORGANIZATION
from embedsweep.serving.fine_tuning.records import Checkpoint, Job, JobEvent, Page, StoredFile, T

Body = dict[str, Any]


def file_body(file: StoredFile) -> Body:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose.value,
        "status": "processed",
        "status_details": None,
    }


def job_body(job: Job) -> Body:
    asked = job.asked
    hyperparameters = dict(asked.hyperparameters)
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "error": None if job.error is None else asdict(job.error),
        "estimated_finish": job.estimated_finish,
        "fine_tuned_model": job.fine_tuned_model,
        "finished_at": job.finished_at,
        "hyperparameters": hyperparameters,
        "integrations": [],
        "metadata": dict(asked.metadata) or None,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "model": asked.model,
        "organization_id": ORGANIZATION,
        "result_files": [] if job.result_file is None else [job.result_file],
        "seed": asked.seed,
        "status": job.status.value,
        "trained_tokens": job.trained_tokens,
        "training_file": asked.training_file,
        "user_provided_suffix": asked.suffix,
        "validation_file": asked.validation_file,
    }


def event_body(event: JobEvent) -> Body:
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": event.created_at,
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": dict(event.data),
    }


def checkpoint_body(checkpoint: Checkpoint) -> Body:
    return {
        "id": checkpoint.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": checkpoint.created_at,
        "fine_tuned_model_checkpoint": checkpoint.model_id,
        "fine_tuning_job_id": checkpoint.job_id,
        "metrics": dict(checkpoint.metrics),
        "step_number": checkpoint.step,
    }


def page_body(page: Page[T], body_of: Callable[[T], Body]) -> Body:
    data = [body_of(item) for item in page.items]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
