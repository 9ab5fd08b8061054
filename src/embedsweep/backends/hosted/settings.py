"""How the hosted backend goes about its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedsweep.backends.hosted.provider import PATIENCE
from embedsweep.backends.hosted.reconciliation import Settling


@dataclass(frozen=True)
class HostedSettings:
    """What can be set.

    Attributes:
        settling: When to believe that a provider does not have a job.
        poll: Seconds between two looks at a job, at most; the first follow each other faster.
        deadline: Seconds a job may take from when it is followed; beyond, it is cancelled.
        patience: Seconds that a call waits in all for a provider that is out of order.
        cancel_on_interrupt: Whether Ctrl-C cancels the job rather than leaving it at work.
        key_variables: By provider, the environment variable that holds its key.
    """

    settling: Settling = field(default_factory=Settling)
    poll: float = 10.0
    deadline: float = 24 * 3600.0
    patience: float = PATIENCE
    cancel_on_interrupt: bool = False
    key_variables: Mapping[str, str] = field(default_factory=dict)
