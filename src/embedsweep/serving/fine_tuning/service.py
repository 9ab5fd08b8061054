"""The fine-tuning service, put together over one folder."""

from __future__ import annotations

import pickle
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embedsweep.core.errors import UsageError
from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.database import Database
from embedsweep.serving.fine_tuning.disk import Disk
from embedsweep.serving.fine_tuning.file_store import FileStore
from embedsweep.serving.fine_tuning.hyperparameter_checks import asked
from embedsweep.serving.fine_tuning.job_book import JobBook
from embedsweep.serving.fine_tuning.job_progress import JobProgress
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.model_book import ModelBook
from embedsweep.serving.fine_tuning.records import Job, NewJob
from embedsweep.serving.fine_tuning.requests import JobRequest
from embedsweep.serving.fine_tuning.runner import Runner
from embedsweep.serving.fine_tuning.training import Train
from embedsweep.serving.fine_tuning.tuned_shelf import Offer, TunedShelf

DATABASE = "fine-tuning.db"
LARGEST_SEED = 2**31 - 1


class FineTuning:
    """Files, jobs and models in a folder of their own, kept from one start to the next.

    Attributes:
        limits: Its bounds.
        files, jobs, models: What clients ask of each.
        disk: Its folders.
        shelf: The models, to embed with.

    Args:
        folder: Holds everything; made if it is not there. One process may have it at a time.
        train: What trains, in processes of its own: a function of some module's own.
        offer: The base models, and how models are opened.
        limits: Bounds; the defaults if None.
        clock: Unix seconds.

    Raises:
        StoreError: The folder cannot be used.
        UsageError: There is no base model, or `train` is no function of a module's own.
    """

    def __init__(
        self,
        folder: Path,
        train: Train,
        offer: Offer,
        limits: FineTuningLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check(train, offer)
        self.limits = limits = limits or FineTuningLimits()
        self.offer = offer
        self.disk = Disk(folder, limits.free_bytes)
        try:
            self._database = Database(folder / DATABASE)
        except BaseException:
            self.disk.close()
            raise
        self.files = FileStore(self._database, self.disk, limits, clock)
        self.jobs = JobBook(self._database, limits, clock)
        self.models = ModelBook(self._database, self.disk)
        most = limits.models_in_memory
        self.shelf = TunedShelf(offer, self.models, self.disk, most, int(clock()))
        progress = JobProgress(self._database, limits.checkpoints, clock)
        self._runner = Runner(train, progress, self.files, self.disk, limits)
        progress.recover()
        self.files.purge()
        self.disk.sweep(self.files.names(), self.models.folders())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Carry jobs out while the context lasts; at its end jobs in training are queued again.

        The service is closed then, and cannot be used any more.
        """
        self._runner.start()
        try:
            yield
        finally:
            self._runner.close()
            self.close()

    def close(self) -> None:
        """Let go of the folder; `at_work` does so by itself."""
        self._database.close()
        self.disk.close()

    def create_job(self, owner: str, request: JobRequest) -> Job:
        """Take a job on, as the API has it.

        Raises:
            ApiError: 400 for what cannot be done, 429 when too many jobs wait already.
        """
        if not self.offer.has(request.model):
            offered = ", ".join(self.offer.base_models)
            message = (
                f"model {request.model[:200]!r} cannot be fine-tuned here; these can: {offered}"
            )
            raise ApiError(400, "model_not_available", message, "model")
        if request.integrations:
            message = "integrations: none is supported here"
            raise ApiError(400, "invalid_value", message, "integrations")
        seed = secrets.randbelow(LARGEST_SEED) if request.seed is None else request.seed
        new = NewJob(
            model=request.model,
            training_file=request.training_file,
            validation_file=request.validation_file,
            suffix=request.suffix,
            seed=seed,
            metadata=request.metadata or {},
            hyperparameters=asked(request.training, self.limits),
        )
        job = self.jobs.create(owner, new)
        self._runner.notify()
        return job

    def cancel_job(self, job_id: str, owner: str) -> Job:
        """End a job; what it has left so far is removed.

        Raises:
            ApiError: 404 where there is none, 400 when it has ended already.
        """
        job = self.jobs.cancel(job_id, owner)
        self._runner.interrupt(job_id)
        return job

    def delete_model(self, model_id: str, owner: str) -> None:
        """Remove a fine-tuned model or a checkpoint; raises `ApiError` 404 where there is none."""
        self.models.delete(model_id, owner)
        self.shelf.drop(model_id)


def _check(train: Train, offer: Offer) -> None:
    if not offer.base_models:
        fix = "name one model at least"
        raise UsageError("no base model", "the fine-tuning service", "none is offered", fix)
    try:
        pickle.dumps(train)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            "the training function",
            "the fine-tuning service",
            f"it cannot go to another process: {error}",
            "give a function of a module's own",
        ) from error
