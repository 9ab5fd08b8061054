"""Watching an alias: what is said once, what is tried again and when, and the thread that asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LONGEST_REST = 63
"""A version that will not load is tried again after so many refreshes at the latest."""


@dataclass
class AliasWatch:
    """How it goes with following one alias.

    Attributes:
        outage: Why the alias cannot be read, or None.
        refused: The version that the alias names and that cannot be served, or None.
    """

    outage: str | None = None
    refused: int | None = None
    _failures: int = 0
    _rest: int = 0

    @property
    def in_trouble(self) -> bool:
        return self.outage is not None or self.refused is not None

    def lose(self, outage: str) -> bool:
        """Note that the alias cannot be read; whether that is news."""
        is_news = outage != self.outage
        self.outage = outage
        return is_news

    def refuse(self, number: int) -> bool:
        """Note that a version cannot be served; whether that is news.

        It then rests for 1, 3, 7, ... refreshes, for trying it costs time and memory.
        """
        is_news = number != self.refused
        self.refused = number
        self._failures = 1 if is_news else self._failures + 1
        self._rest = min(2**self._failures - 1, LONGEST_REST)
        return is_news

    def rests(self, number: int) -> bool:
        """Whether to pass over the version in this refresh. To be asked once in each."""
        if number != self.refused or self._rest == 0:
            return False
        self._rest -= 1
        return True


@contextmanager
def polling(refresh: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `refresh` every so many seconds, in a thread of its own, while the context lasts."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(seconds):
            refresh()

    # A daemon: a registry that hangs must not keep the process from ending.
    threading.Thread(target=poll, name="follow-champion", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
