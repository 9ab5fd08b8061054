"""Which of many models really differ: every pair tested, corrected for all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embedsweep.core.errors import DataError
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.resampling import (
    BATCH_BYTES,
    EXACT_UNITS,
    RESAMPLES,
    SEED,
    Float64Array,
    bca_ends,
)
from embedsweep.evaluation.significance import EQUAL, SHOWN_IDS, units_of

FAMILY_ALPHA = 0.05
"""Of all pairs together: how often any pair may be called different when none is."""

CLOSE = 1e-7
"""Statistics, of size 1 to 10, that differ by no more are equal but for rounding."""

MOST_STATISTICS = 400_000_000
FEWEST_PATTERNS = 2_000
"""Of more than 40 000 pairs fewer patterns are drawn, so that a thousand models take seconds."""

BLOCK_BYTES = 2**19
"""Patterns are weighed in blocks that fit a processor's cache."""


@dataclass(frozen=True)
class UnitScores:
    """One model's scores by what is independent: a query, or a group of queries.

    Attributes:
        sums: Sum of scores by unit.
        sizes: Scores by unit.
        identity: Of benchmark, ids and groups; equal means that two models can be paired.
    """

    sums: Float64Array
    sizes: Float64Array
    identity: str

    @property
    def mean(self) -> float:
        return float(self.sums.sum() / self.sizes.sum())


@dataclass(frozen=True, slots=True)
class Difference:
    """Two models on the same benchmark, among others.

    Attributes:
        first, second: Their names.
        gain: Mean of the paired differences, first minus second.
        p_value: Two-sided, corrected over all pairs tested together.
    """

    first: str
    second: str
    gain: float
    p_value: float

    @property
    def real(self) -> bool:
        """Whether chance is no explanation, at 5 % over all pairs together."""
        return self.p_value <= FAMILY_ALPHA


def unit_scores(report: Report, measure: Measure) -> UnitScores:
    """What pairing needs of a report, a small part of it.

    Args:
        report: Any.
        measure: One with scores.

    Raises:
        DataError: The report lacks the measure, or a score is not finite.
    """
    by_id = report.scores.get(measure)
    if by_id is None:
        raise DataError(
            f"measure {measure}",
            f"the report on benchmark {report.benchmark}",
            f"it is not there; the report holds {', '.join(map(str, report.scores)) or 'none'}",
            "measure the model again",
        )
    ids = sorted(by_id)
    scores = np.array([by_id[each] for each in ids], dtype=np.float64)
    finite = np.isfinite(scores)
    if not finite.all():
        spoilt = [each for each, good in zip(ids, finite, strict=True) if not good]
        raise DataError(
            f"scores of {measure}",
            f"the report on benchmark {report.benchmark}",
            f"{len(spoilt)} scores are not finite, among them {', '.join(spoilt[:SHOWN_IDS])}",
            "measure the model again",
        )
    sums, sizes = units_of(ids, scores, report.groups)
    identity = fingerprint(report.benchmark, ids, dict(report.groups))
    return UnitScores(sums, sizes, identity)


def pairwise_differences(
    models: Mapping[str, UnitScores], resamples: int | None = None
) -> tuple[Difference, ...]:
    """Every pair of models, tested two-sided by sign flips and corrected by single-step max-T.

    If two models are equally good, each unit's difference could as well have had the other sign.
    One random sign per unit flips all pairs at once, so that the pairs keep their dependence, and
    the largest statistic of any pair is what chance alone reaches somewhere. A pair's p-value is
    the share of patterns whose largest statistic is at least the pair's own. Models that are
    much alike cost little: 200 of them need not be 19 900 times as different as two.

    The statistic is the sum of a pair's differences over the root of their sum of squares, which
    no flip changes: it rises with Student's t as computed anew for every pattern. Where up to
    16 units differ at all, all patterns are counted; else it is ``(b + 1) / (B + 1)`` of the
    drawn ones.

    Westfall and Young, "Resampling-based multiple testing", 1993; Winkler et al., "Permutation
    inference for the general linear model", NeuroImage 92, 2014; for retrieval Boytsov, Belova and
    Westfall, "Deciding on an adjustment for multiplicity in IR experiments", SIGIR 2013.

    Args:
        models: By name; all with one `UnitScores.identity`.
        resamples: Patterns to draw; None for as many as time allows, 10 000 at most.

    Returns:
        The pairs in the order of the names; a pair without any difference has a p-value of 1.

    Raises:
        DataError: The models were not measured on the same examples.
    """
    names = list(models)
    if len(names) < 2:
        return ()
    if len({model.identity for model in models.values()}) > 1:
        raise DataError(
            "models that cannot be paired",
            "the comparison of all pairs",
            "they were measured on different benchmarks, examples or groups",
            "measure all of them on the same benchmark",
        )
    sizes = models[names[0]].sizes
    sums = np.stack([models[name].sums for name in names])
    means = sums.sum(axis=1) / sizes.sum()
    # What all models share cancels in every pair; without it less is lost to rounding.
    sums = sums - sums.mean(axis=0)
    # Units on which all models are equal are the same under any sign.
    moved = (np.abs(sums) > EQUAL * sizes).any(axis=0)
    sums, sizes = sums[:, moved], sizes[moved]
    weights = _weights(sums, sizes)
    observed = _statistics(sums.sum(axis=1), weights)
    affordable = max(FEWEST_PATTERNS, MOST_STATISTICS // len(observed))
    largest = np.sort(_largest(sums, weights, resamples or min(RESAMPLES, affordable)))
    reached = len(largest) - np.searchsorted(largest, observed - CLOSE)
    drawn = 0 if sums.shape[1] <= EXACT_UNITS else 1
    p_values = (reached + drawn) / (len(largest) + drawn)
    return tuple(
        Difference(names[a], names[b], float(means[a] - means[b]), float(p_value))
        for (a, b), p_value in zip(_pairs(len(names)), p_values, strict=True)
    )


def mean_intervals(
    models: Sequence[UnitScores], confidence: float = 0.95, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """`bca_interval` of each model's mean, on draws of units that all of them share.

    Args:
        models: All with one `UnitScores.identity`, of at least two units.
        confidence: Of each interval.
        resamples: Bootstrap samples to draw.
    """
    if not models:
        return []
    sizes = models[0].sizes
    sums = np.stack([model.sums for model in models], axis=1)
    units = len(sizes)
    index = np.min_scalar_type(units)
    means = np.empty((resamples, len(models)))
    generator = np.random.default_rng(SEED)
    batch = max(1, BATCH_BYTES // (8 * units))
    for start in range(0, resamples, batch):
        count = min(batch, resamples - start)
        drawn = generator.integers(0, units, size=(count, units), dtype=index)
        times = np.empty((count, units))
        for row, chosen in enumerate(drawn):
            times[row] = np.bincount(chosen, minlength=units)
        means[start : start + count] = times @ sums / (times @ sizes)[:, np.newaxis]
    return [
        bca_ends(model.sums, model.sizes, drawn_means, confidence)
        for model, drawn_means in zip(models, means.T, strict=True)
    ]


def _pairs(models: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(models) for b in range(a + 1, models)]


def _weights(sums: Float64Array, sizes: Float64Array) -> list[Float64Array]:
    """Model by model: one over the root sum of squares of its difference to each later one."""
    weights = []
    for row in range(len(sums) - 1):
        apart = sums[row + 1 :] - sums[row]
        apart[np.abs(apart) <= EQUAL * sizes] = 0
        norms = np.sqrt((apart**2).sum(axis=1))
        weights.append(np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0))
    return weights


def _statistics(totals: Float64Array, weights: Sequence[Float64Array]) -> Float64Array:
    rows = [np.abs(totals[row + 1 :] - totals[row]) * each for row, each in enumerate(weights)]
    return np.concatenate(rows)


def _largest(sums: Float64Array, weights: Sequence[Float64Array], resamples: int) -> Float64Array:
    """The largest statistic of any pair, by pattern of signs."""
    models, units = sums.shape
    total = sums.sum(axis=1)
    if units <= EXACT_UNITS:
        # A pattern and its opposite give the same statistics: half of them are enough.
        bits = np.arange(2 ** max(units - 1, 0))[:, np.newaxis] >> np.arange(units) & 1
        return _largest_of(2 * (bits @ sums.T) - total, weights)
    generator = np.random.default_rng(SEED)
    largest = np.empty(resamples)
    batch = max(1, BATCH_BYTES // (8 * max(units, models)))
    for start in range(0, resamples, batch):
        count = min(batch, resamples - start)
        drawn = np.frombuffer(generator.bytes(count * units), dtype=np.uint8) & 1
        signs = drawn.reshape(count, units).astype(np.float64)
        largest[start : start + count] = _largest_of(2 * (signs @ sums.T) - total, weights)
    return largest


def _largest_of(totals: Float64Array, weights: Sequence[Float64Array]) -> Float64Array:
    """By row of ``totals``, which is a pattern; its columns are the models."""
    patterns, models = totals.shape
    largest = np.zeros(patterns)
    width = max(1, BLOCK_BYTES // (8 * models))
    for start in range(0, patterns, width):
        block = np.ascontiguousarray(totals[start : start + width].T)
        most = largest[start : start + width]
        for row, each in enumerate(weights):
            apart = block[row + 1 :] - block[row]
            np.abs(apart, out=apart)
            apart *= each[:, np.newaxis]
            np.maximum(most, apart.max(axis=0), out=most)
    return largest
