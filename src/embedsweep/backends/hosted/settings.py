"""How the hosted backend goes about its work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedsweep.backends.hosted.provider import PATIENCE
from embedsweep.backends.hosted.reconciliation import Settling
from embedsweep.core.recipe import LOOPBACK


@dataclass(frozen=True)
class HostedSettings:
    """What can be set.

    Attributes:
        settling: When to believe that a provider does not have a job.
        poll: Seconds between two looks at a job, at most; the first follow each other faster.
        poll_loopback: The same at the service of this machine, which a look costs next to nothing.
        deadline: Seconds a job may take from when it is followed; beyond, it is cancelled.
        patience: Seconds that a call waits in all for a provider that is out of order.
        cancel_on_interrupt: Whether Ctrl-C cancels the job rather than leaving it at work.
        key_variables: By provider, the environment variable that holds its key.
    """

    settling: Settling = field(default_factory=Settling)
    poll: float = 10.0
    poll_loopback: float = 0.5
    deadline: float = 24 * 3600.0
    patience: float = PATIENCE
    cancel_on_interrupt: bool = False
    key_variables: Mapping[str, str] = field(default_factory=dict)

    def longest_pause(self, provider: str) -> float:
        """Seconds between two looks at a job of the provider, at most."""
        return self.poll_loopback if provider == LOOPBACK else self.poll
