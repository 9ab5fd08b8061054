"""Who may embed now, who waits, and who is turned away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
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
        self._openers = ThreadPoolExecutor(1, thread_name_prefix="open")
        self._computing: set[asyncio.Future[Any]] = set()
        self._is_abandoned = False

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, first come first served, and hold it.

        Raises:
            ApiError: 429 when the line is full, 503 when the gate is closed.
        """
        with self._place():
            async with self._turns:
                yield

    async def compute(self, work: Callable[[], Result]) -> Result:
        """The work's result, computed in a thread; to be called by who holds a turn.

        Raises:
            ApiError: 503 when the gate was abandoned.
        """
        return await self._in_thread(self._threads, work)

    async def prepare(self, work: Callable[[], Result]) -> Result:
        """The result of what must come before a turn, such as loading a model.

        It counts as in flight but holds nobody's turn up; one such work runs at a time.

        Raises:
            ApiError: As `turn` and `compute` do.
        """
        with self._place():
            return await self._in_thread(self._openers, work)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self.is_closed:
            raise shutting_down()
        if self.in_flight >= self._capacity:
            message = f"{self.in_flight} requests are in flight, no more are taken; try again"
            raise ApiError(429, "rate_limit_exceeded", message, headers=RETRY_SOON)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
        if self._is_abandoned:
            raise shutting_down()
        computing = asyncio.get_running_loop().run_in_executor(threads, work)
        self._computing.add(computing)
        computing.add_done_callback(self._computing.discard)
        try:
            return await computing
        except asyncio.CancelledError:
            if self._is_abandoned:
                raise shutting_down() from None
            raise

    def close(self) -> None:
        """Admit nobody any more; who is in flight stays so."""
        self.is_closed = True

    def abandon(self) -> None:
        """Wait for no result any more, though threads may go on: who is in flight gets 503."""
        self._is_abandoned = True
        for computing in list(self._computing):
            computing.cancel()


def shutting_down() -> ApiError:
    return ApiError(503, "shutting_down", "the server is shutting down", headers=RETRY_SOON)
