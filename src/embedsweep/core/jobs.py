"""Jobs at providers, and what was spent on them: what the job book remembers.

A job is told apart by its key, a digest of all that decides its result. However often and wherever
it is asked for, it is submitted once; only when it has failed or was cancelled it is submitted
again, as the next attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class JobState(StrEnum):
    """How far a job has come, as far as is known here.

    From `INTENDED` until `SUBMITTED` the provider may or may not have it.
    """

    INTENDED = "intended"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays: a sweep, and how much it may spend in all; None for no bound."""

    scope: str
    cap: float | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """What is about to be billed.

    Attributes:
        what: In words, such as ``job 3f2a…``.
        provider: Who bills it.
        model: The provider's name of the model, or of the one it is tuned from.
        tokens: How many; an estimate until it is settled.
        cost: What they come to; the same.
    """

    what: str
    provider: str
    model: str
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One attempt at a job.

    Attributes:
        key: The job's.
        attempt: From 1.
        provider: Who runs it.
        scope: Who pays for it.
        state: How far it has come.
        created_at: When it was intended, in Unix seconds.
        tokens, cost: As estimated, and as billed once it has ended.
        file_id: The provider's name of the training file; None until submitted.
        job_id: The provider's name of the job; None until submitted.
        model: The provider's name of the model that came of it; None for none.
        message: Why it failed or was cancelled.
    """

    key: str
    attempt: int
    provider: str
    scope: str
    state: JobState
    created_at: float
    tokens: int
    cost: float
    file_id: str | None = None
    job_id: str | None = None
    model: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What came of asking for a job.

    Attributes:
        record: The newest attempt at it.
        is_mine: It is intended, and the caller is the one who submits it.
        is_new: It was not intended before: the provider cannot have it.
    """

    record: JobRecord
    is_mine: bool = False
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended.

    Attributes:
        state: Succeeded, failed or cancelled.
        model: The provider's name of the model; None for none.
        message: Why there is none.
        tokens, cost: What was billed; None where the provider does not tell, which leaves the
            estimate standing.
    """

    state: JobState
    model: str | None = None
    message: str = ""
    tokens: int | None = None
    cost: float | None = None


class JobBook(Protocol):
    """Remembers jobs, uploads and spending, shared by all who run sweeps.

    Every method is one transaction, may be called from any thread or process, and raises
    `StoreError` when the book cannot be read or written.
    """

    def claim(self, key: str, charge: Charge, account: Account) -> Claim:
        """Intend the job unless it is intended, submitted or has succeeded; one caller wins.

        With the intent the estimated cost is debited. An intent whose holder is gone falls to the
        caller, who must find out whether the provider has the job.

        Raises:
            Refusal: The account would be overdrawn; nothing is recorded.
        """
        ...

    def renew(self, record: JobRecord) -> None:
        """Say that the caller still holds the intent; right before the job is created.

        Raises:
            Refusal: Another process holds it by now.
        """
        ...

    def release(self, record: JobRecord) -> None:
        """Let go of an intent of which it is not clear whether the provider has the job."""
        ...

    def withdraw(self, record: JobRecord) -> None:
        """Forget an intent whose job was certainly not created, and credit its cost back."""
        ...

    def submitted(self, record: JobRecord, job_id: str, file_id: str) -> JobRecord:
        """The provider has the job.

        Raises:
            Refusal: Another process holds the intent by now.
        """
        ...

    def ended(self, record: JobRecord, end: JobEnd) -> JobRecord:
        """The job has ended; told more than once, the first time counts.

        A success without a model may be told again with one.
        """
        ...

    def find(self, key: str) -> JobRecord | None:
        """The newest attempt at the job."""
        ...

    def jobs(self) -> list[JobRecord]:
        """Every attempt at every job, oldest first."""
        ...

    def resubmit(self, key: str) -> JobRecord:
        """Give the newest attempt up on a person's word, so that the next one may be submitted.

        An intent is forgotten and its cost credited back; what was submitted counts as cancelled
        and stays paid.

        Returns:
            The attempt as it was.

        Raises:
            UsageError: There is no such job.
            Refusal: A process is submitting it right now.
        """
        ...

    def upload(self, provider: str, digest: str) -> str | None:
        """The id under which the provider was given the file with this SHA-256."""
        ...

    def uploaded(self, provider: str, digest: str, file_id: str) -> None:
        """The provider has the file under this id; an older id is forgotten."""
        ...

    def debit(self, charge: Charge, account: Account) -> int:
        """Record what is about to be billed; returns the entry's number.

        Raises:
            Refusal: The account would be overdrawn; nothing is recorded.
        """
        ...

    def settle(self, entry: int, tokens: int, cost: float) -> None:
        """Put what was billed in the place of an entry's estimate."""
        ...

    def entries(self, scope: str) -> list[Charge]:
        """All that was recorded of a scope, oldest first."""
        ...

    def spent(self, scope: str) -> float:
        """What a scope's entries come to."""
        ...
