"""Finding out whether a provider has a job that may have been created."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai

from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.order import METADATA_KEY, JobOrder, by_hand
from embedsweep.backends.hosted.provider import PAGE, Provider, ProviderFault
from embedsweep.core.errors import Refusal
from embedsweep.core.jobs import Account, JobBook, JobRecord

MARGIN = 600.0
"""Seconds that the provider's clock may be behind ours."""

_NO_LIST = (404, 405, 501)
_NO_FILTER = (400, 422)
_OVER = ("failed", "cancelled")

_logger = logging.getLogger(__name__)
_Job = dict[str, Any]


@dataclass(frozen=True)
class Settling:
    """How long a job that was created may stay out of the provider's list.

    Attributes:
        seconds: At most.
        looks: So many times the list is read at least before it is believed.
    """

    seconds: float = 60.0
    looks: int = 3


class Reconciliation:
    """Looks for a job, and takes it for ours when it is there.

    Args:
        provider: Who may have it.
        book: What is known of other jobs; the cost of doubles is recorded there.
        meter: Prices them.
        settling: When to believe that there is none.
        say: Told of doubles.
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
        self._settling = settling
        self._say = say

    def adopt(self, order: JobOrder, record: JobRecord) -> str | None:
        """The provider's name of the job; None when the provider certainly has none.

        Raises:
            Refusal: The provider cannot tell, so that a person must.
            StoreError: The list cannot be had right now; the intent stands.
        """
        clock = self._provider.clock
        begun, looks, pause = clock.seconds(), 0, self._settling.seconds / 30
        while True:
            hits = self._look(order, record)
            looks += 1
            if hits:
                return self._oldest(hits, order)
            left = self._settling.seconds - (clock.seconds() - begun)
            if left <= 0 and looks >= self._settling.looks:
                return None
            clock.sleep(min(pause, left) if left > 0 else pause)
            pause *= 2

    def _look(self, order: JobOrder, record: JobRecord) -> list[_Job]:
        """The jobs most like the order; none that the book has under another key or attempt."""
        known = {
            other.job_id for other in self._book.jobs() if other.provider == self._provider.name
        }
        file_id = self._book.upload(self._provider.name, order.file.digest)
        since = record.created_at - MARGIN
        try:
            found = list(self._with_our_metadata(order, since))
            if not any(order.likeness(job, None) == 3 for job in found):
                found = list(self._created(since, openai.omit))
        except ProviderFault as fault:
            if fault.status in _NO_LIST or fault.status == 200:
                raise self._unclear(record, fault) from None
            raise fault.told(self._provider.name, f"to look for job {record.key}") from None
        likeness = {
            job["id"]: order.likeness(job, file_id)
            for job in found
            if isinstance(job.get("id"), str)
            and job["id"] not in known
            and job.get("status") != "cancelled"
            and _is_since(job, since)
        }
        best = max(likeness.values(), default=0)
        hits = {job["id"]: job for job in found if best and likeness.get(job.get("id", "")) == best}
        return list(hits.values())

    def _with_our_metadata(self, order: JobOrder, since: float) -> Iterator[_Job]:
        try:
            yield from self._created(since, {METADATA_KEY: order.key})
        except ProviderFault as fault:
            if fault.status not in _NO_FILTER:
                raise

    def _created(self, since: float, metadata: dict[str, str] | openai.Omit) -> Iterator[_Job]:
        """The provider's jobs back to a time, and older ones on the same pages.

        A server may ignore the filter; and only where its list begins with the newest job does an
        old one say that those behind it are older.
        """
        pages = self._provider.pages(
            lambda client, after: client.fine_tuning.jobs.with_raw_response.list(
                metadata=metadata, limit=PAGE, after=after
            )
        )
        for page in pages:
            yield from page
            times = [job.get("created_at") for job in page]
            dated = [time for time in times if isinstance(time, int | float)]
            if dated and dated[0] > dated[-1] and dated[-1] < since:
                return

    def _oldest(self, hits: list[_Job], order: JobOrder) -> str:
        """Of several jobs the oldest that can still give a model; the others are cancelled."""
        first, *doubles = sorted(
            hits,
            key=lambda job: (job.get("status") in _OVER, job.get("created_at") or 0, job["id"]),
        )
        adopted: str = first["id"]
        _logger.info("%s: job %s is taken for %s", self._provider.name, adopted, order.key)
        if doubles:
            cost = sum(self._cancel(double, order) for double in doubles)
            names = ", ".join(double["id"] for double in doubles)
            self._say(
                f"{len(hits)} jobs were created for one: {adopted} is kept, {names} cancelled;"
                f" {self._provider.name} may bill up to {cost:.2f} for what they did"
            )
        return adopted

    def _cancel(self, job: _Job, order: JobOrder) -> float:
        """Cancel a double and record what it may cost, whatever the cap."""
        job_id, has_failed = job["id"], job.get("status") == "failed"
        try:
            if not has_failed:
                job = self._provider.patiently(
                    lambda client: client.fine_tuning.jobs.with_raw_response.cancel(job_id)
                )
        except ProviderFault as fault:
            _logger.warning("%s: job %s: %s", self._provider.name, job_id, fault.message)
        told = job.get("trained_tokens")
        tokens = told if type(told) is int else 0 if has_failed else order.tokens
        charge = self._meter.charge_job(
            f"double {job_id} of job {order.key}",
            self._provider.name,
            order.recipe.base_model,
            tokens,
        )
        self._book.debit(charge, Account(self._meter.account.scope))
        return charge.cost

    def _unclear(self, record: JobRecord, fault: ProviderFault) -> Refusal:
        return Refusal(
            f"ambiguous submit of job {record.key}",
            f"provider {self._provider.name}",
            f"it may have the job or not, and does not list its jobs: {fault.message}",
            f"look for the key at the provider; if it has no such job: {by_hand(record)}",
        )


def _is_since(job: _Job, since: float) -> bool:
    created_at = job.get("created_at")
    return not isinstance(created_at, int | float) or created_at >= since
