"""Submitting a job once: whoever asks, however often, and whatever becomes of the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from embedsweep.backends.hosted.clock import Waits
from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.order import METADATA_KEY, JobOrder
from embedsweep.backends.hosted.provider import Provider, ProviderFault
from embedsweep.backends.hosted.reconciliation import Reconciliation, Settling
from embedsweep.backends.hosted.uploads import Uploads
from embedsweep.core.errors import StoreError
from embedsweep.core.jobs import JobBook, JobRecord, JobState
from embedsweep.core.trial import TrialFailure

UNCLEAR_ANSWERS = 5
"""After so many in a row, each of a job that was then found not to be there, it is given up."""

ANOTHERS_SUBMISSION = 1800.0
"""Seconds to wait for a process that is submitting the same job."""

_logger = logging.getLogger(__name__)


@dataclass
class _Intent:
    """An intent that this process holds.

    Attributes:
        order: What was ordered.
        record: Its row in the book.
        is_unclear: The provider may have the job.
    """

    order: JobOrder
    record: JobRecord
    is_unclear: bool


class Submission:
    """Submits jobs to one provider.

    The intent is in the book before the request goes out. An answer that says that no job was
    created withdraws it. Any other answer, or none, or a process that died in between leave it
    standing, and then the provider is asked for the job before another is created.

    Args:
        provider: Who runs the jobs.
        book: Where they are known.
        meter: Prices them and says who pays.
        settling: When to believe that the provider has no such job.
        say: Told what whoever watches should know.
    """

    def __init__(
        self,
        provider: Provider,
        book: JobBook,
        meter: Meter,
        settling: Settling,
        say: Callable[[str], None],
    ) -> None:
        self._provider = provider
        self._book = book
        self._meter = meter
        self._uploads = Uploads(provider, book)
        self._reconciliation = Reconciliation(provider, book, meter, settling, say)

    def record(self, order: JobOrder) -> JobRecord:
        """The job's record, submitted or ended; the provider is asked to create it if need be.

        Raises:
            Refusal: The account would be overdrawn, or it is unclear whether there is a job and
                the provider cannot tell.
            StoreError: The provider refuses the key or is out of order.
            TrialFailure: The provider finds fault with the job.
        """
        charge = self._meter.charge_job(
            f"job {order.key}", self._provider.name, order.recipe.base_model, order.tokens
        )
        clock = self._provider.clock
        begun = clock.seconds()
        while True:
            claim = self._book.claim(order.key, charge, self._meter.account)
            if claim.record.state is not JobState.INTENDED:
                return claim.record
            if claim.is_mine:
                return self._carry_out(_Intent(order, claim.record, is_unclear=not claim.is_new))
            if clock.seconds() - begun > ANOTHERS_SUBMISSION:
                raise StoreError(
                    f"job {order.key}",
                    "the job book",
                    "another process has been submitting it for too long",
                    "stop that process and run the command again",
                )
            clock.sleep(1.0)

    def _carry_out(self, intent: _Intent) -> JobRecord:
        is_submitted = False
        try:
            job_id, file_id = self._adopted_or_created(intent)
            record = self._book.submitted(intent.record, job_id, file_id)
            is_submitted = True
            return record
        finally:
            # Whatever ends it, an interruption too: the next one must know what may be there.
            if not is_submitted and intent.is_unclear:
                self._book.release(intent.record)
            elif not is_submitted:
                self._book.withdraw(intent.record)

    def _adopted_or_created(self, intent: _Intent) -> tuple[str, str]:
        """The provider's names of the job and of its training file."""
        waits = Waits(self._provider.clock, self._provider.patience)
        unclear_answers = 0
        while True:
            if intent.is_unclear:
                job_id = self._reconciliation.adopt(intent.order, intent.record)
                if job_id is not None:
                    return job_id, self._known_file(intent.order)
                intent.is_unclear = False
            file_id = self._uploads.file_id(intent.order.file)
            try:
                return self._create(intent, file_id), file_id
            except ProviderFault as fault:
                intent.is_unclear = not fault.was_refused
                if fault.was_refused:
                    self._wait_or_raise(fault, waits, intent.order)
                    continue
                unclear_answers += 1
                _logger.warning("%s: unclear answer: %s", self._provider.name, fault.message)
                if unclear_answers == UNCLEAR_ANSWERS:
                    raise self._told(fault, intent.order) from None

    def _create(self, intent: _Intent, file_id: str) -> str:
        """The id of the job created by a single request."""
        order = intent.order
        self._book.renew(intent.record)
        intent.is_unclear = True
        job = self._provider.once(
            lambda client: client.fine_tuning.jobs.with_raw_response.create(
                model=order.recipe.base_model,
                training_file=file_id,
                method=order.method,  # type: ignore[arg-type]  # a loss is none of OpenAI's own
                seed=order.recipe.seed,
                suffix=order.suffix,
                metadata={METADATA_KEY: order.key},
            )
        )
        job_id = job.get("id")
        if not isinstance(job_id, str) or not job_id:
            raise ProviderFault("the reply names no job", 200)
        return job_id

    def _wait_or_raise(self, fault: ProviderFault, waits: Waits, order: JobOrder) -> None:
        """Wait until the provider may be asked again; the intent is ours all the while."""
        try:
            if self._provider.wait_after(fault, waits):
                return
        except ProviderFault as last:
            fault = last
        raise self._told(fault, order) from None

    def _told(self, fault: ProviderFault, order: JobOrder) -> StoreError | TrialFailure:
        return fault.told(self._provider.name, f"to create job {order.key}")

    def _known_file(self, order: JobOrder) -> str:
        return self._book.upload(self._provider.name, order.file.digest) or ""
