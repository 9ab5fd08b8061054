"""Several pieces of work at a time, each on one thread of the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_lanes(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The work's results, in the order of the items.

    As many items at a time as torch has threads, each computed on one: small matrices keep one
    thread busy and not two, and what lies between them never waits for the other.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    try:
        return list(_lanes(threads, os.getpid()).map(work, items))
    finally:
        # A lane's setting reaches some of the libraries below torch in every thread.
        torch.set_num_threads(threads)


@cache
def _lanes(threads: int, process: int) -> ThreadPoolExecutor:
    """The threads, kept with the memory that the libraries below torch hold for each of them.

    Args:
        threads: How many.
        process: Whose they are: after a fork there are none.
    """
    del process
    set_one = partial(torch.set_num_threads, 1)
    return ThreadPoolExecutor(threads, "lane", initializer=set_one)
