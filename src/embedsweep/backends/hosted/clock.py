"""Time as the hosted backend sees it; a test gives it another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds between two tries, where the provider does not say how long to wait."""


@dataclass(frozen=True)
class Clock:
    """Where time comes from.

    Attributes:
        seconds: Seconds that only ever grow.
        sleep: Waits so many seconds.
        chance: A number from 0 up to 1; spreads the tries of many clients.
    """

    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def spread(self, seconds: float) -> float:
        """The seconds, or up to a quarter less."""
        return seconds * (1 - self.chance() / 4)


class Waits:
    """The pauses between the tries of one call.

    Args:
        clock: Time.
        patience: Seconds that all the pauses together may take.
    """

    def __init__(self, clock: Clock, patience: float) -> None:
        self._clock = clock
        self._left = patience
        self._next = FIRST_PAUSE
        self.tries = 1

    def pause(self, asked: float | None) -> float | None:
        """How long to wait before the next try; None when patience does not reach so far.

        Args:
            asked: What the provider asked for, in seconds.
        """
        pause = self._clock.spread(self._next) if asked is None else asked
        if pause > self._left:
            return None
        self._left -= pause
        self._next = min(2 * self._next, LONGEST_PAUSE)
        self.tries += 1
        return pause
