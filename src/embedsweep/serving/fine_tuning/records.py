"""What the service keeps: files, jobs, and what comes of jobs. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class JobStatus(StrEnum):
    """OpenAI's statuses; the database's view ``live_jobs`` knows the first three as living."""

    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Purpose(StrEnum):
    """What a file is for: uploaded to train on, or written by a job."""

    FINE_TUNE = "fine-tune"
    RESULTS = "fine-tune-results"


@dataclass(frozen=True)
class StoredFile:
    """A file, its content lying on the disk."""

    id: str
    owner: str
    filename: str
    purpose: Purpose
    bytes: int
    created_at: int
    expires_at: int | None


@dataclass(frozen=True)
class JobError:
    """Why a job failed.

    Attributes:
        code: Short name, for programs.
        message: For people; names nothing of the machine.
        param: The parameter at fault, such as ``training_file``; None where none is.
    """

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True)
class NewJob:
    """A job as it was asked for, checked.

    Attributes:
        model: Base model.
        training_file, validation_file: Ids.
        suffix: As asked.
        seed: As asked, or drawn.
        metadata: As asked; empty for none.
        hyperparameters: As asked, ``"auto"`` for what was left open.
    """

    model: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    metadata: Mapping[str, str]
    hyperparameters: Mapping[str, int | float | str]


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Attributes:
        asked: What was asked for; its hyperparameters are the resolved ones once the files are
            found valid.
        recipe: What it trains, as `core.recipe.recipe_as_dict` writes it; None until then.
        model_id: The name its model will have.
        fine_tuned_model: The same, once there is a model.
        attempts: How often its training has begun.
    """

    id: str
    owner: str
    status: JobStatus
    asked: NewJob
    model_id: str
    created_at: int
    attempts: int = 0
    recipe: Mapping[str, Any] | None = None
    error: JobError | None = None
    fine_tuned_model: str | None = None
    result_file: str | None = None
    trained_tokens: int | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None


@dataclass(frozen=True)
class JobEvent:
    """Something that happened to a job."""

    id: str
    created_at: int
    level: str
    message: str
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A model left after an epoch."""

    id: str
    job_id: str
    created_at: int
    model_id: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TunedModel:
    """A model that came of a job, or a checkpoint of one.

    Attributes:
        folder: Where it lies, relative to the service's folder of models.
        step: A checkpoint's step; None for the model a job ended with.
    """

    id: str
    owner: str
    job_id: str
    folder: str
    created_at: int
    step: int | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and whether there is more of it."""

    items: list[T]
    has_more: bool
