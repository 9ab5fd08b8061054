"""From values to places on the paper, and the round numbers written along the way."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
MARGIN = 0.06
"""Free paper at either end of the values, as a share of their range."""


@dataclass(frozen=True)
class Scale:
    """Puts values of a range on a stretch of paper.

    Attributes:
        low, high: The values at the ends, ``low < high``; both above 0 where `log`.
        start, stop: The places of the ends.
        log: Equal ratios take equal room.
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The value's place; a value beyond the ends is put at the nearer one."""
        inside = min(max(value, self.low), self.high)
        low, high, at = (
            (math.log(each) for each in (self.low, self.high, inside))
            if self.log
            else (self.low, self.high, inside)
        )
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the range, about ``count`` of them."""
        if self.log:
            return log_ticks(self.low, self.high)
        return round_ticks(self.low, self.high, count)


def extent(values: Iterable[float], margin: float = MARGIN) -> tuple[float, float]:
    """The range of the finite values, with some room around; of none, 0 to 1."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    room = (high - low) * margin if low < high else abs(low) * MARGIN or 1.0
    return low - room, high + room


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten within the range, about ``count``."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in STEPS if each * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [place * step for place in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within the range; with 2 and 5 times those where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [
            tick
            for power in powers
            for factor in factors
            if low * (1 - 1e-9) <= (tick := factor * 10.0**power) <= high * (1 + 1e-9)
        ]
        if len(found) > 2:
            return found
    return found if len(found) > 1 else [low, high]


def label(value: float, step: float | None = None) -> str:
    """A number as it stands at an axis: as many digits as the step between ticks needs."""
    if value == 0:
        return "0"
    if step is None:
        step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    if not 1e-4 < abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(round(step, digits) - step) > step * 1e-3:
        digits += 1
    written = f"{value:.{digits}f}"
    return written.replace("-", "\N{MINUS SIGN}")


def labels(ticks: list[float]) -> list[str]:
    """The ticks of one axis, written alike."""
    if len(ticks) < 2:
        return [label(tick) for tick in ticks]
    steps = [after - before for before, after in pairwise(ticks)]
    # Ratios, not differences, part the ticks of a logarithmic axis: each has digits of its own.
    even = max(steps) < 1.01 * min(steps)
    return [label(tick, min(steps)) if even else f"{tick:g}" for tick in ticks]
