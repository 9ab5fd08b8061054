"""The server's side of a worker process: started, given orders, listened to, ended."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from embedsweep.serving.fine_tuning import child
from embedsweep.serving.fine_tuning.child import Begun, Done, Failed
from embedsweep.serving.fine_tuning.orders import Order, Report

logger = logging.getLogger(__name__)

LAST_SECONDS = 2.0
"""How long a process that was told to end may take; then it is killed."""

_SPAWN = multiprocessing.get_context("spawn")
"""A forked process would inherit locks that threads of this one hold."""


@dataclass(frozen=True)
class Died:
    """The process ended without an answer; why, for people."""

    why: str


@dataclass(frozen=True)
class Interrupted:
    """The work was called off."""


@dataclass(frozen=True)
class TimedOut:
    """The work took longer than it may."""


Ending = Done | Failed | Died | Interrupted | TimedOut


class Interrupt:
    """Calls work off, from any thread and at any time; used once."""

    def __init__(self) -> None:
        self.called, self._call = _SPAWN.Pipe(duplex=False)

    def set(self) -> None:
        with contextlib.suppress(OSError):
            self._call.send_bytes(b"!")

    def close(self) -> None:
        self._call.close()
        self.called.close()


class Worker:
    """One process at a time, which lives on from order to order. Belongs to one thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def carry_out(
        self, order: Order, on_report: Callable[[Report], None], stop: Interrupt, seconds: float
    ) -> Ending:
        """Have an order carried out, and wait for its end.

        Args:
            order: The work.
            on_report: Called with each report; what it raises ends the process and goes through.
            stop: Ends the process when set.
            seconds: How long the work may take.
        """
        deadline = time.monotonic() + seconds
        ending: Ending | None = None
        try:
            ending = self._followed(order, on_report, stop, deadline)
        finally:
            # Whatever else happened, it may still compute.
            if not isinstance(ending, Done | Failed):
                self._end()
        return ending

    def _followed(
        self, order: Order, on_report: Callable[[Report], None], stop: Interrupt, deadline: float
    ) -> Ending:
        """The end of the order, which a process that was there already may miss by dying."""
        is_new, has_begun = self._connection is None, False
        connection = self._connection or self._start()
        with contextlib.suppress(OSError):
            connection.send(order)
        while True:
            ready = wait([connection, stop.called], max(0.0, deadline - time.monotonic()))
            if not ready:
                return TimedOut()
            if stop.called in ready:
                return Interrupted()
            try:
                message = connection.recv()
            except (EOFError, OSError):
                died = self._died()
                if is_new or has_begun:
                    return died
                return self._followed(order, on_report, stop, deadline)
            if isinstance(message, Done | Failed):
                return message
            if isinstance(message, Begun):
                has_begun = True
            else:
                on_report(message)

    def retire(self) -> None:
        """Let the process end, which has no work; the next order gets a new one."""
        if self._connection is not None:
            self._connection.close()
        self._end(LAST_SECONDS)

    def _start(self) -> Connection:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=child.run, args=(theirs,), name=self._name, daemon=True)
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        return ours

    def _died(self) -> Died:
        process = self._process
        self._end(LAST_SECONDS)
        code = None if process is None else process.exitcode
        if code is None or code >= 0:
            return Died("the worker process ended by an error; the server's log has it")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
        return Died(f"the worker process was ended by signal {name}{hint}")

    def _end(self, patience: float = 0.0) -> None:
        """The process, if any, is gone after this."""
        process, connection = self._process, self._connection
        self._process, self._connection = None, None
        if connection is not None:
            connection.close()
        if process is None:
            return
        if patience:
            process.join(patience)
        if process.is_alive():
            # It minds no other signal, and has nothing to save.
            process.kill()
            process.join()
