"""Sign flips and bootstrap of a paired mean, in bounded memory and with fixed seeds.

A *unit* is what is independent: a query, or a group of queries that belong together. A unit comes
as the sum of its paired differences and the number of them, so that the mean difference is the
sum of all sums over the sum of all sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
FINENESS = 20
"""A test at a level needs p-values this many times finer than the level."""

EXACT_UNITS = 16
"""Up to so many units all sign patterns are counted, 65 536 at most."""

SEED = 20_240_229
BATCH_BYTES = 16 * 2**20
BITS = 8
POWER = 0.8
ROUNDING = 1e-12
"""Relative error below which two sums of the same numbers are equal."""


def resamples_for(alpha: float) -> int:
    """How many patterns to draw for a test at the level: 10 000, more where it is very small."""
    return max(RESAMPLES, ceil(FINENESS / alpha))


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
    table = _sums_by_byte(moved)
    if len(moved) <= EXACT_UNITS:
        patterns = np.arange(2 ** len(moved), dtype="<u2").view(np.uint8).reshape(-1, 2).T
        return float((_totals(table, patterns) >= observed).mean())
    generator = np.random.default_rng(SEED)
    at_least = 0
    for count in _batches(resamples, len(table)):
        patterns = np.frombuffer(generator.bytes(len(table) * count), dtype=np.uint8)
        at_least += int((_totals(table, patterns.reshape(-1, count)) >= observed).sum())
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
    generator = np.random.default_rng(SEED)
    all_alike = bool((sizes == sizes[0]).all())
    index = np.min_scalar_type(len(sums))
    means = np.empty(resamples)
    done = 0
    for count in _batches(resamples, len(sums)):
        drawn = generator.integers(0, len(sums), size=(count, len(sums)), dtype=index)
        weights = sizes.sum() if all_alike else sizes[drawn].sum(axis=1)
        means[done : done + count] = sums[drawn].sum(axis=1) / weights
        done += count
    return bca_ends(sums, sizes, means, confidence)


def bca_ends(
    sums: Float64Array, sizes: Float64Array, means: Float64Array, confidence: float
) -> tuple[float, float]:
    """The ends of `bca_interval`, from bootstrap means drawn already.

    Args:
        sums: As there.
        sizes: As there.
        means: Of the bootstrap samples.
        confidence: As there.
    """
    mean = float(sums.sum() / sizes.sum())
    without_each = (sums.sum() - sums) / (sizes.sum() - sizes)
    pull = without_each.mean() - without_each
    if np.abs(pull).max() <= ROUNDING * np.abs(without_each).max():
        return mean, mean
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    normal, resamples = NormalDist(), len(means)
    # Means that differ by rounding alone are equal.
    below = float((means < mean - ROUNDING).mean() + (np.abs(means - mean) <= ROUNDING).mean() / 2)
    bias = normal.inv_cdf(min(max(below, 1 / resamples), 1 - 1 / resamples))
    tail = (1 - confidence) / 2
    shifted = [bias + normal.inv_cdf(share) for share in (tail, 1 - tail)]
    shares = [normal.cdf(bias + each / max(1 - acceleration * each, ROUNDING)) for each in shifted]
    low, high = np.quantile(means, shares)
    return float(low), float(high)


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


def _sums_by_byte(sums: Float64Array) -> Float64Array:
    """The sum of each eight units, one set a row, under the signs that each byte stands for.

    A pattern of signs is then a byte a row, and its total takes an eighth of the additions.
    """
    sets = np.append(sums, np.zeros(-len(sums) % BITS)).reshape(-1, BITS)
    signs = 2.0 * (np.arange(256)[:, np.newaxis] >> np.arange(BITS) & 1) - 1
    table: Float64Array = sets @ signs.T
    return table


def _totals(table: Float64Array, patterns: npt.NDArray[np.uint8]) -> Float64Array:
    """Total under each pattern, one a column with a byte for every row of the table."""
    totals = np.zeros(patterns.shape[1])
    for by_byte, drawn in zip(table, patterns, strict=False):
        totals += by_byte[drawn]
    return totals


def _batches(resamples: int, units: int) -> Iterator[int]:
    """Sizes of batches that keep ``batch x units`` doubles within `BATCH_BYTES`."""
    size = max(1, BATCH_BYTES // (8 * units))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
