"""Following a job from its submission to its model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.order import JobOrder, by_hand
from embedsweep.backends.hosted.progress import Checkpoint, Progress
from embedsweep.backends.hosted.provider import Provider, ProviderFault
from embedsweep.backends.hosted.settings import HostedSettings
from embedsweep.core.errors import StoreError
from embedsweep.core.jobs import JobBook, JobEnd, JobRecord, JobState
from embedsweep.core.ports import StopTraining, TrainingListener
from embedsweep.core.trial import TrialFailure

ACTIVE = frozenset({"validating_files", "queued", "running"})
_FIRST_POLL = 0.25
_GROWTH = 1.1
"""The pauses grow to a tenth of the time that the job has taken: so late its end is seen."""

_ENDS = {state.value: state for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)}
_NO_EVENTS = (400, 404, 405, 501)

_logger = logging.getLogger(__name__)


class Following:
    """Follows one job that has been submitted.

    Args:
        provider: Who runs it.
        book: Where its end is recorded.
        meter: Counts what it cost.
        settings: How patiently to follow it.
        listener: Told of its metrics and its end.
    """

    def __init__(
        self,
        provider: Provider,
        book: JobBook,
        meter: Meter,
        settings: HostedSettings,
        listener: TrainingListener,
    ) -> None:
        self._provider = provider
        self._book = book
        self._meter = meter
        self._settings = settings
        self._listener = listener
        self._warned: set[str] = set()

    def model(
        self, order: JobOrder, record: JobRecord, on_checkpoint: Callable[[Checkpoint], None]
    ) -> tuple[JobRecord, dict[str, float]]:
        """Wait for the job's model.

        Args:
            order: What was ordered.
            record: Its row, submitted or succeeded.
            on_checkpoint: Called for each epoch but the last whose model can be had, in order.

        Returns:
            The record of the success, with the model's name, and the last losses told.

        Raises:
            TrialFailure: It failed, was cancelled, took too long or names no model.
            StoreError: The provider knows it no longer, or is out of order.
            StopTraining: The listener wants no more of it; the job is cancelled.
        """
        progress = Progress(self._provider, record.job_id or "", order.recipe.epochs)
        if record.state is JobState.SUCCEEDED and record.model:
            self._tell_events(progress)
        else:
            with self._ending_well(order, record):
                job = self._end_of(record, progress, on_checkpoint)
                record = self._ended(order, record, job)
        self._meter.count_job(record)
        return self._checked(record), progress.losses

    def _end_of(
        self,
        record: JobRecord,
        progress: Progress,
        on_checkpoint: Callable[[Checkpoint], None],
    ) -> dict[str, Any]:
        """The job as the provider shows it once it has ended."""
        clock = self._provider.clock
        begun, pause = clock.seconds(), _FIRST_POLL
        longest = self._settings.longest_pause(self._provider.name)
        while True:
            job = self._look(record)
            self._tell_events(progress)
            for checkpoint in self._checkpoints(progress):
                on_checkpoint(checkpoint)
            status = str(job.get("status"))
            if status in _ENDS:
                return job
            self._warn_of_unknown(status, record)
            if clock.seconds() - begun > self._settings.deadline:
                why = f"job {record.job_id} is still {status!r} after {self._settings.deadline:g} s"
                raise TrialFailure("deadline", why)
            clock.sleep(clock.spread(min(pause, longest)))
            pause *= _GROWTH

    def _look(self, record: JobRecord) -> dict[str, Any]:
        try:
            return self._provider.patiently(
                lambda client: client.fine_tuning.jobs.with_raw_response.retrieve(
                    record.job_id or ""
                )
            )
        except ProviderFault as fault:
            if fault.status == 404:
                raise StoreError(
                    f"job {record.job_id}",
                    f"provider {self._provider.name}",
                    f"the provider knows it no longer: {fault.message}",
                    f"to have it done and paid once more: {by_hand(record)}",
                ) from None
            raise self._told(fault, f"to read job {record.job_id}") from None

    def _told(self, fault: ProviderFault, action: str) -> StoreError:
        """Reading a job concerns the sweep, whatever the status: the job itself goes on."""
        told = fault.told(self._provider.name, action)
        if isinstance(told, StoreError):
            return told
        return StoreError(
            f"provider {self._provider.name}", action, fault.message, "run the command again"
        )

    def _tell_events(self, progress: Progress) -> None:
        try:
            progress.tell_events(self._listener)
        except ProviderFault as fault:
            self._go_without("events", fault)

    def _checkpoints(self, progress: Progress) -> list[Checkpoint]:
        try:
            return progress.new_checkpoints()
        except ProviderFault as fault:
            self._go_without("checkpoints", fault)
            return []

    def _go_without(self, what: str, fault: ProviderFault) -> None:
        """Some servers keep no events or checkpoints; a job can be followed without."""
        if fault.status not in (*_NO_EVENTS, 200):
            raise self._told(fault, f"to read a job's {what}")
        if what not in self._warned:
            self._warned.add(what)
            _logger.info("%s: no %s: %s", self._provider.name, what, fault.message)

    def _warn_of_unknown(self, status: str, record: JobRecord) -> None:
        if status not in ACTIVE and status not in self._warned:
            self._warned.add(status)
            self._listener.say(
                f"job {record.job_id} is {self._provider.shown(status)!r}, a status not known here;"
                " it is taken to be at work"
            )

    def _ended(self, order: JobOrder, record: JobRecord, job: dict[str, Any]) -> JobRecord:
        """Record how the job ended and what it cost."""
        state = _ENDS[str(job["status"])]
        tokens = job.get("trained_tokens")
        model = job.get("fine_tuned_model")
        if type(tokens) is not int or tokens < 0:
            # OpenAI bills nothing for a job that failed; of any other the estimate stands.
            tokens = 0 if state is JobState.FAILED else None
        cost = None
        if tokens is not None:
            cost = self._meter.training_cost(order.recipe.base_model, tokens)
        end = JobEnd(
            state,
            model if isinstance(model, str) and model and state is JobState.SUCCEEDED else None,
            self._message(job),
            tokens,
            cost,
        )
        return self._book.ended(record, end)

    def _message(self, job: dict[str, Any]) -> str:
        """The provider's own error as it is."""
        error = job.get("error")
        if not isinstance(error, dict) or not any(error.values()):
            return ""
        details = [f"{name} {error[name]}" for name in ("code", "param") if error.get(name)]
        said = str(error.get("message") or "no message")
        return self._provider.shown(said + (f" ({', '.join(details)})" if details else ""))

    def _checked(self, record: JobRecord) -> JobRecord:
        job = f"job {record.job_id}"
        match record.state:
            case JobState.SUCCEEDED if record.model:
                return record
            case JobState.SUCCEEDED:
                raise TrialFailure("no_model_name", f"{job} succeeded but names no model")
            case JobState.CANCELLED:
                why = f": {record.message}" if record.message else ""
                raise TrialFailure("cancelled", f"{job} was cancelled at the provider{why}")
            case _:
                raise TrialFailure(
                    "provider", f"{job} failed: {record.message or 'no reason told'}"
                )

    @contextmanager
    def _ending_well(self, order: JobOrder, record: JobRecord) -> Iterator[None]:
        """Cancel the job when the trial ends without its model; leave it when only we end."""
        try:
            yield
        except (StopTraining, TrialFailure):
            self._cancel(order, record)
            raise
        except KeyboardInterrupt:
            if self._settings.cancel_on_interrupt:
                self._cancel(order, record)
            else:
                self._listener.say(
                    f"job {record.job_id} goes on at {self._provider.name}; run the same command"
                    " again to follow it, it will not be submitted a second time"
                )
            raise

    def _cancel(self, order: JobOrder, record: JobRecord) -> None:
        """Cancel the job and record it, or how it ended before."""
        job_id = record.job_id or ""
        try:
            job = self._cancelled(job_id)
        except ProviderFault as fault:
            self._listener.say(
                f"job {job_id} could not be cancelled at {self._provider.name} and may be billed:"
                f" {fault.message}"
            )
            return
        if job.get("status") not in _ENDS:
            job = {**job, "status": JobState.CANCELLED.value}
        self._meter.count_job(self._ended(order, record, job))
        self._listener.say(f"job {job_id} was cancelled at {self._provider.name}")

    def _cancelled(self, job_id: str) -> dict[str, Any]:
        try:
            return self._provider.patiently(
                lambda client: client.fine_tuning.jobs.with_raw_response.cancel(job_id)
            )
        except ProviderFault as fault:
            if fault.may_pass:
                raise
            job = self._provider.patiently(
                lambda client: client.fine_tuning.jobs.with_raw_response.retrieve(job_id)
            )
            if job.get("status") in _ENDS:
                return job
            raise fault from None
