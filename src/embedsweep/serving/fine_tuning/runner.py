"""The threads that take jobs up: one looks through files, the others train."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from embedsweep.core.recipe import LocalRecipe, recipe_from_dict
from embedsweep.serving.fine_tuning.child import Done, Failed
from embedsweep.serving.fine_tuning.disk import Disk
from embedsweep.serving.fine_tuning.file_store import Arrived, FileStore
from embedsweep.serving.fine_tuning.inspection import Inspection
from embedsweep.serving.fine_tuning.job_progress import JobProgress
from embedsweep.serving.fine_tuning.limits import FineTuningLimits
from embedsweep.serving.fine_tuning.orders import (
    EpochTold,
    Inspected,
    JobFiles,
    Line,
    Progress,
    Report,
    StepTold,
    Trained,
)
from embedsweep.serving.fine_tuning.records import Job, JobError, Purpose
from embedsweep.serving.fine_tuning.training import MODEL, RESULTS, Train, Training
from embedsweep.serving.fine_tuning.worker import Died, Ending, Interrupt, TimedOut, Worker

logger = logging.getLogger(__name__)

VALIDATION_SECONDS = 600.0
RETRY_SECONDS = 5.0
"""How long a thread rests when the database cannot be asked."""

Work = Callable[[Job, Worker, Interrupt], None]


class Runner:
    """Carries jobs out, the oldest first.

    Args:
        train: What trains.
        progress: Where jobs come from and their ends are noted.
        files: The jobs' files.
        disk: Where models go.
        limits: How many at a time, and how long.
    """

    def __init__(
        self,
        train: Train,
        progress: JobProgress,
        files: FileStore,
        disk: Disk,
        limits: FineTuningLimits,
    ) -> None:
        self._train = train
        self._progress = progress
        self._files = files
        self._disk = disk
        self._limits = limits
        self._changed = threading.Condition()
        self._interrupts: dict[str, Interrupt] = {}
        self._is_closing = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        steps: list[tuple[str, Callable[[], Job | None], Work]] = [
            ("validate", self._progress.next_to_validate, self._validate_job)
        ]
        steps += [("train", self._progress.begin_next, self._train_job)] * self._limits.workers
        for name, next_job, work in steps:
            thread = threading.Thread(
                target=self._serve, args=(name, next_job, work), name=name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def notify(self) -> None:
        """Look for work: there may be some."""
        with self._changed:
            self._changed.notify_all()

    def interrupt(self, job_id: str) -> None:
        """End the work on a job, if there is any. Does not wait for it."""
        with self._changed:
            if job_id in self._interrupts:
                self._interrupts[job_id].set()

    def close(self) -> None:
        """End all work and wait for it; jobs in training go back into the queue."""
        with self._changed:
            self._is_closing = True
            for interrupt in self._interrupts.values():
                interrupt.set()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _serve(self, name: str, next_job: Callable[[], Job | None], work: Work) -> None:
        worker = Worker(name)
        while not self._is_closing:
            taken = self._take(next_job)
            if taken is None:
                worker.retire()
                continue
            job, interrupt = taken
            try:
                work(job, worker, interrupt)
            except (sqlite3.Error, OSError, ValueError):
                logger.exception("%s: the server could not go on with it", job.id)
                self._give_up(job)
            finally:
                with self._changed:
                    # Once its files are valid, another thread may have the job already.
                    if self._interrupts.get(job.id) is interrupt:
                        del self._interrupts[job.id]
                    interrupt.close()
        worker.retire()

    def _take(self, next_job: Callable[[], Job | None]) -> tuple[Job, Interrupt] | None:
        """The next job, and what ends the work on it; None when there was none for a while."""
        with self._changed:
            while not self._is_closing:
                patience = self._limits.idle_seconds
                try:
                    job = next_job()
                except sqlite3.Error:
                    logger.exception("the queue cannot be read")
                    job, patience = None, RETRY_SECONDS
                if job is not None:
                    # Under the lock, so that who cancels the job finds what to interrupt.
                    interrupt = self._interrupts[job.id] = Interrupt()
                    return job, interrupt
                if not self._changed.wait(patience):
                    return None
        return None

    def _give_up(self, job: Job) -> None:
        try:
            self._progress.fail(job, JobError("server_error", "the server could not go on with it"))
        except sqlite3.Error:
            # The job stays as it is and is taken up again at the next start.
            logger.exception("%s: its end could not be noted", job.id)

    def _files_of(self, job: Job) -> JobFiles:
        validation = job.asked.validation_file
        return JobFiles(
            self._files.path_by_id(job.asked.training_file),
            None if validation is None else self._files.path_by_id(validation),
        )

    def _validate_job(self, job: Job, worker: Worker, interrupt: Interrupt) -> None:
        asked = job.asked
        order = Inspection(self._files_of(job), asked.hyperparameters, asked.model, asked.seed)
        ending = worker.carry_out(order, lambda report: None, interrupt, VALIDATION_SECONDS)
        if isinstance(ending, Done) and isinstance(ending.result, Inspected):
            found = ending.result
            self._progress.accept(job, found.recipe, found.hyperparameters, found.rows)
            self.notify()
        else:
            self._end_badly(job, ending)

    def _train_job(self, job: Job, worker: Worker, interrupt: Interrupt) -> None:
        if not self._disk.has_room():
            error = JobError("insufficient_storage", "the server's disk is nearly full")
            self._progress.fail(job, error)
            return
        recipe = recipe_from_dict(job.recipe or {})
        if not isinstance(recipe, LocalRecipe):
            raise ValueError(f"expected a local recipe, got {recipe.kind}")
        work = self._disk.work / job.id
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            order = Training(self._train, recipe, self._files_of(job), work)
            pace = Pace()
            on_report = partial(self._on_report, job, pace)
            seconds = self._limits.training_seconds
            ending = worker.carry_out(order, on_report, interrupt, seconds)
            if isinstance(ending, Done) and isinstance(ending.result, Trained):
                self._keep(job, work, ending.result.tokens)
            else:
                # What broke once may have left memory in disorder.
                worker.retire()
                self._end_badly(job, ending)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _keep(self, job: Job, work: Path, tokens: int) -> None:
        """Give the job the model that lies in the folder."""
        if not (work / MODEL).is_dir():
            self._progress.fail(job, JobError("server_error", "the training left no model"))
            return
        folder = self._moved(work / MODEL, job, MODEL)
        results = work / RESULTS
        size = results.stat().st_size
        arrived = Arrived(results, size, RESULTS, Purpose.RESULTS)
        result_file = self._files.add_result(job.owner, arrived)
        if not self._progress.succeed(job, folder, tokens, result_file.id):
            self._files.delete(result_file.id, job.owner)
            self._discard(job)

    def _end_badly(self, job: Job, ending: Ending) -> None:
        match ending:
            case Failed(code, message, param):
                self._progress.fail(job, JobError(code, message, param))
            case Died(why):
                logger.error("%s: %s", job.id, why)
                self._progress.fail(job, JobError("worker_died", why))
            case TimedOut():
                self._progress.fail(job, JobError("timeout", "it took longer than a job may"))
            case _:
                # Called off: cancelled, or to be taken up again after the server's own end.
                if self._is_closing:
                    why = "The server is shutting down"
                    self._progress.requeue(job.id, why, is_counted=False)
                self._discard(job)

    def _on_report(self, job: Job, pace: Pace, report: Report) -> None:
        match report:
            case Line(text):
                self._progress.say(job, text)
            case Progress(done, total):
                if (left := pace.seconds_left(done, total)) is not None:
                    self._progress.estimate(job, left)
            case StepTold(step, total, metrics):
                message = f"Step {step}/{total}{_in_words(metrics)}"
                told = {"step": step, "total_steps": total, **metrics}
                self._progress.say(job, message, told)
            case EpochTold(epoch, step, total, metrics, folder):
                epochs = (job.recipe or {}).get("epochs")
                message = f"Epoch {epoch}/{epochs}{_in_words(metrics)}"
                told = {"step": step, "total_steps": total, "epoch": epoch, **metrics}
                self._progress.say(job, message, told)
                place = self._moved(folder, job, f"step-{step}")
                told = {"step": step, "epoch": epoch, **metrics}
                gone = self._progress.add_checkpoint(job, place, step, told)
                for relative in [place] if gone is None else [model.folder for model in gone]:
                    shutil.rmtree(self._disk.models / relative, ignore_errors=True)

    def _moved(self, folder: Path, job: Job, name: str) -> str:
        """Put a model where it is served from; returns that place, relative to all models."""
        place = self._disk.models / job.id / name
        place.parent.mkdir(exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        folder.rename(place)
        return place.relative_to(self._disk.models).as_posix()

    def _discard(self, job: Job) -> None:
        shutil.rmtree(self._disk.models / job.id, ignore_errors=True)


class Pace:
    """How fast a training goes, from its first report on: what came before was setting up.

    Args:
        clock: Seconds, from any moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def seconds_left(self, done: int, total: int) -> float | None:
        """None until that can be told."""
        now = self._clock()
        if self._first is None:
            self._first = (now, done)
        began, before = self._first
        if done == before:
            return None
        return (now - began) / (done - before) * (total - done)


def _in_words(metrics: Mapping[str, float]) -> str:
    if not metrics:
        return ""
    return ": " + ", ".join(f"{name}={value:.4g}" for name, value in metrics.items())
