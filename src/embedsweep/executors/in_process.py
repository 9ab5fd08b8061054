"""Run work in this process and say what it took."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Result = TypeVar("Result")

_CLEAR_PEAK = "5"
"""Written to ``clear_refs``, resets the peak resident size (Linux, proc(5))."""


@dataclass(frozen=True)
class Measured(Generic[Result]):
    """What work gave and what it took.

    Attributes:
        result: What the work returned.
        seconds: Wall time.
        peak_memory: Peak resident memory in bytes. On Linux of the work alone; elsewhere of the
            process so far, which bounds it from above.
    """

    result: Result
    seconds: float
    peak_memory: int


def measured(work: Callable[[], Result]) -> Measured[Result]:
    """Run the work; what it raises goes through."""
    resettable = _reset_peak()
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    return Measured(result, seconds, _peak_since_reset() if resettable else _peak_of_process())


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True


def _peak_since_reset() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return _peak_of_process()


def _peak_of_process() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
