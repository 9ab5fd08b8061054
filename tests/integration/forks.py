"""Processes that begin with the heavy libraries loaded, so that a test may start many."""

from __future__ import annotations

import multiprocessing
import signal

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "tests.integration.hosted_parts"])


def race(target, arguments):
    """What each of the processes, let go at the same time, puts into the queue."""
    queue, gate = FORKS.Queue(), FORKS.Barrier(len(arguments))
    processes = [
        FORKS.Process(target=target, args=(gate, queue, *given), daemon=True) for given in arguments
    ]
    for process in processes:
        process.start()
    results = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    return results


def run_to_the_end(target, *arguments):
    """Run it in a process of its own; returns whether it was killed."""
    process = FORKS.Process(target=target, args=arguments, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode == -signal.SIGKILL
