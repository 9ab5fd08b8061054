"""Who may embed now, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from embedsweep.serving.errors import ApiError

Result = TypeVar("Result")
RETRY_SOON = {"Retry-After": "1"}


class Gate:
    """Lets so many requests embed at a time and so many wait; no more are ever in flight.

    Belongs to one event loop. The work itself runs in threads, so that the loop stays free.
    """

    def __init__(self, concurrent: int, waiting: int) -> None:
        self.in_flight = 0
        self.is_closed = False
        self._capacity = concurrent + waiting
        self._turns = asyncio.Semaphore(concurrent)
        self._threads = ThreadPoolExecutor(concurrent, thread_name_prefix="embed")
        self._computing: set[asyncio.Future[Any]] = set()
        self._is_abandoned = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, first come first served, and hold it.

        Raises:
            ApiError: 429 when the line is full, 503 when the gate is closed.
        """
        if self.is_closed:
            raise _shutting_down()
        if self.in_flight >= self._capacity:
            message = f"{self.in_flight} requests are in flight, no more are taken; try again"
            raise ApiError(429, "rate_limit_exceeded", message, headers=RETRY_SOON)
        self.in_flight += 1
        try:
            async with self._turns:
                yield
        finally:
            self.in_flight -= 1

    async def compute(self, work: Callable[[], Result]) -> Result:
        """The work's result, computed in a thread; to be called by who holds a turn.

        Raises:
            ApiError: 503 when the gate was abandoned.
        """
        if self._is_abandoned:
            raise _shutting_down()
        computing = asyncio.get_running_loop().run_in_executor(self._threads, work)
        self._computing.add(computing)
        computing.add_done_callback(self._computing.discard)
        try:
            return await computing
        except asyncio.CancelledError:
            if self._is_abandoned:
                raise _shutting_down() from None
            raise

    def close(self) -> None:
        """Admit nobody any more; who is in flight stays so."""
        self.is_closed = True

    def abandon(self) -> None:
        """Wait for no result any more, though threads may go on: who is in flight gets 503."""
        self._is_abandoned = True
        for computing in list(self._computing):
            computing.cancel()


def _shutting_down() -> ApiError:
    return ApiError(503, "shutting_down", "the server is shutting down", headers=RETRY_SOON)
