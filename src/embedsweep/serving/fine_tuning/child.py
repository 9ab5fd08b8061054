"""What runs in a worker process: orders are carried out one after another, until there are none.

The process lives no longer than the one that started it, and is the first to go when memory ends.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path

from embedsweep.serving.fine_tuning.orders import Inspected, JobFailure, Trained

OOM_SCORE = "500"
"""Of 1000: the kernel, short of memory, ends this process before the server (proc(5))."""


@dataclass(frozen=True)
class Begun:
    """The order has arrived."""


@dataclass(frozen=True)
class Done:
    """The order was carried out."""

    result: Inspected | Trained


@dataclass(frozen=True)
class Failed:
    """The order was not carried out, and why; see `records.JobError`."""

    code: str
    message: str
    param: str | None


def run(orders: Connection) -> None:
    """Carry out orders until the other end is closed; reports and results go back the same way."""
    # Ctrl-C goes to every process of a terminal, and a service is often stopped by SIGTERM to all
    # of its processes; the server alone decides what ends when.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _go_first()
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        orders.send(Begun())
        try:
            ending: Done | Failed = Done(order.carry_out(orders.send))
        except JobFailure as failure:
            ending = Failed(failure.code, failure.message, failure.param)
        orders.send(ending)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _go_first() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
    except OSError:
        return  # Not Linux, or not allowed: then the kernel chooses for itself.
