"""How much the fine-tuning service takes on, keeps and spends."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class FineTuningLimits:
    """Bounds of files, jobs and models; an owner is a key, or whoever comes where there are none.

    Attributes:
        workers: Jobs that train at the same time, each in a process of its own.
        file_bytes: Bytes of one file.
        files_per_owner, files: Files kept of one owner, and of all.
        bytes_per_owner, bytes: Bytes of files kept of one owner, and of all.
        uploads: Files that arrive at the same time.
        upload_seconds: A file must have arrived by then.
        jobs_per_owner, jobs: Jobs that wait or run, of one owner and of all.
        models_per_owner: Fine-tuned models kept of one owner, with those that jobs are to leave.
        epochs: The largest ``n_epochs``.
        batch_size: The largest ``batch_size``.
        checkpoints: Checkpoints kept of a job, the newest ones; OpenAI keeps as many.
        models_in_memory: Models kept open for embedding; the least recently used one goes.
        free_bytes: What the disk must have left for a file to be taken or a job to begin.
        training_seconds: A job that has trained for so long is given up.
        idle_seconds: A training process without work ends after so long. Until then the next job
            spares itself the seconds that loading the libraries takes.
    """

    workers: int = 1
    file_bytes: int = 128 * MIB
    files_per_owner: int = 1_000
    files: int = 10_000
    bytes_per_owner: int = 2 * GIB
    bytes: int = 10 * GIB
    uploads: int = 8
    upload_seconds: float = 600.0
    jobs_per_owner: int = 20
    jobs: int = 100
    models_per_owner: int = 1_000
    epochs: int = 100
    batch_size: int = 1024
    checkpoints: int = 3
    models_in_memory: int = 4
    free_bytes: int = 1 * GIB
    training_seconds: float = 24 * 3600.0
    idle_seconds: float = 300.0
