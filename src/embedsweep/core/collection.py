"""Python's collector of unreachable cycles, left out while libraries and data load."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no cycles in memory meanwhile.

    What loading a library or a data set makes is kept, and looking through all of it over and over
    takes a tenth to half of the time. What nothing refers to any more is freed as ever.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
