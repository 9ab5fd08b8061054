"""Sign flips and bootstrap of a paired mean, in bounded memory and with fixed seeds.

A *unit* is what is independent: a query, or a group of queries that belong together. A unit comes
as the sum of its paired differences and the number of them, so that the mean difference is the
sum of all sums over the sum of all sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
EXACT_UNITS = 16
"""Up to so many units all sign patterns are counted, 65 536 at most."""

SEED = 20_240_229
BATCH_BYTES = 16 * 2**20
POWER = 0.8
ROUNDING = 1e-12
"""Relative error below which two sums of the same numbers are equal."""


def sign_flip_p_value(sums: Float64Array, resamples: int = RESAMPLES) -> float:
    """One-sided paired permutation test of "the mean difference is not above zero".

    If neither side is better, every unit's difference could as well have had the other sign. The
    p-value is the share of sign patterns whose mean is at least the observed one: of all
    patterns, where up to 16 units differ at all, else of `resamples` drawn ones, counted as
    ``(b + 1) / (B + 1)`` so that it is never 0 (Phipson and Smyth, "Permutation P-values should
    never be zero", 2010). Units without a difference are the same under any sign and left out.

    Args:
        sums: Sum of differences by unit.
        resamples: Patterns to draw.
    """
    moved = sums[sums != 0]
    # Sums in another order differ in their last bits, which must not decide what is "at least".
    observed = moved.sum() - ROUNDING * np.abs(moved).sum()
    if len(moved) <= EXACT_UNITS:
        patterns = np.arange(2 ** len(moved))[:, np.newaxis] >> np.arange(len(moved)) & 1
        return float((_flipped(patterns, moved) >= observed).mean())
    generator = np.random.default_rng(SEED)
    at_least = 0
    for count in _batches(resamples, len(moved)):
        bits = np.frombuffer(generator.bytes(count * len(moved)), dtype=np.uint8) & 1
        flipped = _flipped(bits.reshape(count, len(moved)), moved)
        at_least += int((flipped >= observed).sum())
    return (at_least + 1) / (resamples + 1)


def bca_interval(
    sums: Float64Array, sizes: Float64Array, confidence: float, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Two-sided bootstrap interval of the mean difference, bias-corrected and accelerated.

    Units are drawn with replacement. Efron, "Better bootstrap confidence intervals", JASA 82,
    1987. Where all units have the same mean, every resample repeats it and both ends are that
    mean: the sample holds no sign of spread.

    Args:
        sums: Sum of differences by unit, at least two units.
        sizes: Number of differences by unit.
        confidence: Of the interval, such as 0.95.
        resamples: Bootstrap samples to draw.
    """
    mean = float(sums.sum() / sizes.sum())
    without_each = (sums.sum() - sums) / (sizes.sum() - sizes)
    pull = without_each.mean() - without_each
    if np.abs(pull).max() <= ROUNDING * np.abs(without_each).max():
        return mean, mean
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))

    generator = np.random.default_rng(SEED)
    means = np.empty(resamples)
    done = 0
    for count in _batches(resamples, len(sums)):
        drawn = generator.integers(0, len(sums), size=(count, len(sums)))
        means[done : done + count] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        done += count

    normal = NormalDist()
    below = float((means < mean).mean() + (means == mean).mean() / 2)
    bias = normal.inv_cdf(min(max(below, 1 / resamples), 1 - 1 / resamples))
    tail = (1 - confidence) / 2
    ends = []
    for share in (tail, 1 - tail):
        shifted = bias + normal.inv_cdf(share)
        stretch = max(1 - acceleration * shifted, ROUNDING)
        ends.append(float(np.quantile(means, normal.cdf(bias + shifted / stretch))))
    return ends[0], ends[1]


def standard_error(sums: Float64Array, sizes: Float64Array) -> float:
    """Standard error of the mean difference, from the spread between units; at least two units.

    With units of size one it is the sample's standard deviation over the root of n.
    """
    residuals = sums - sizes * (sums.sum() / sizes.sum())
    units = len(sums)
    return float(np.sqrt(units / (units - 1) * (residuals**2).sum()) / sizes.sum())


def smallest_detectable(sums: Float64Array, sizes: Float64Array, confidence: float) -> float:
    """The true gain that a one-sided test at this confidence finds in 80 % of tries."""
    normal = NormalDist()
    return (normal.inv_cdf(confidence) + normal.inv_cdf(POWER)) * standard_error(sums, sizes)


def _flipped(bits: npt.NDArray[np.integer], sums: Float64Array) -> Float64Array:
    """Total under each pattern of signs, one a row, where a bit of 1 keeps the sign."""
    totals: Float64Array = 2 * (bits.astype(np.float64) @ sums) - sums.sum()
    return totals


def _batches(resamples: int, units: int) -> Iterator[int]:
    """Sizes of batches that keep ``batch x units`` doubles within `BATCH_BYTES`."""
    size = max(1, BATCH_BYTES // (8 * units))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
