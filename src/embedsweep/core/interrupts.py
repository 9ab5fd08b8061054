"""Ctrl-C and SIGTERM: both interrupt the program, between a store's calls and not within one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

PATIENCE = 4.0
"""Seconds that a store's call may take after a signal; then the signal goes through."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Everything that ends well on Ctrl-C ends well on this."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` in the main thread if SIGTERM arrives inside the context."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise Terminated


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold the first signal back until the block ends, for at most `PATIENCE`; the second passes.

    An interruption in the middle of a transaction leaves it open: its connection holds SQLite's
    lock, and what is to be written down of the interruption itself waits for it in vain.
    """
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread alone.
        yield
        return
    found = {number: signal.getsignal(number) for number in SIGNALS}
    # Where nobody takes a signal, nothing is held.
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    held: list[tuple[signal.Signals, FrameType | None]] = []
    timers: list[threading.Timer] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((signal.Signals(number), frame))
        restore()
        timer = threading.Timer(PATIENCE, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        restore()
        for timer in timers:
            timer.cancel()
        if held:
            handlers[held[0][0]](*held[0])
