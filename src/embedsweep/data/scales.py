"""The scale of scores: declared or well-known, never the range that the data happens to have."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

Scale = tuple[float, float]
"""Lowest and highest score that there can be."""

DEFAULT_SCALE: Scale = (0.0, 1.0)


class KnownScale(NamedTuple):
    """A scale that is in wide use.

    Attributes:
        low, high: Its ends.
        above: The highest score is above this; if not, it is on a smaller scale of the table.
    """

    low: float
    high: float
    above: float = -math.inf


KNOWN_SCALES = (
    KnownScale(0.0, 1.0),  # probabilities, cosines of a teacher, 0 or 1
    KnownScale(-1.0, 1.0),  # cosines
    KnownScale(1.0, 5.0, above=1.0),  # SICK's relatedness, ratings
    KnownScale(0.0, 5.0, above=1.0),  # the STS tasks
    KnownScale(1.0, 10.0, above=5.0),  # ratings
    KnownScale(0.0, 10.0, above=5.0),  # SimLex
    KnownScale(0.0, 100.0, above=10.0),  # percent, direct assessments
)


def inferred_scale(scores: Collection[float]) -> Scale | None:
    """Return the first known scale that the scores are on, or None.

    A scale that begins above 0 must have its lowest score, and whole numbers above 1 must reach
    the top: 0, 1, 2 and 3 alone may be on 0 to 3 as well as on 0 to 5.

    Args:
        scores: The distinct scores, at least one.
    """
    low, high = min(scores), max(scores)
    are_whole = all(score == int(score) for score in scores)
    for known in KNOWN_SCALES:
        is_inside = known.low <= low and known.above < high <= known.high
        has_bottom = known.low <= 0 or low == known.low
        has_top = not are_whole or known.high <= 1 or high == known.high
        if is_inside and has_bottom and has_top:
            return known.low, known.high
    return None
