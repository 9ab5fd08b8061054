"""Losses in the headline metrics that are not the objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedsweep.core.losses import LOSS_ALPHA, MetricDifference
from embedsweep.core.promotion import MIN_QUERIES
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.pairwise import UnitScores
from embedsweep.evaluation.resampling import (
    BATCH_BYTES,
    EXACT_UNITS,
    RESAMPLES,
    SEED,
    Float64Array,
    bca_interval,
    sign_flip_p_value,
)
from embedsweep.evaluation.significance import EQUAL, paired_units
from embedsweep.evaluation.slices import holm

CLOSE = 1e-9
"""Statistics of size 1 to 10 that differ by less are equal except for rounding."""

MOST_PRODUCTS = 10_000_000_000
FEWEST_PATTERNS = 2_000
"""Fewer patterns are drawn for many trials or units, so that the tests take seconds."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A headline metric in which a trial is significantly worse than its reference.

    Attributes:
        measure: The metric.
        gain: Mean of the paired differences, trial minus reference.
        p_value: One-sided, corrected over all trials and metrics tested together.
    """

    measure: Measure
    gain: float
    p_value: float


def metric_differences(
    candidate: Report,
    champion: Report,
    measures: Sequence[Measure],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[MetricDifference, ...]:
    """Test each metric for a loss: one-sided, paired, corrected by Holm's method.

    Groups are flipped and resampled as a whole, as in `compare`. A metric with fewer than
    `MIN_QUERIES` independent examples is listed and not tested. If the candidate is worse in no
    metric, the probability that any `MetricDifference.worse` is true is at most `LOSS_ALPHA`.

    Args:
        candidate: Report of the model to promote.
        champion: Report of the champion on the same benchmark.
        measures: Metrics with per-example scores that both reports hold.
        confidence: Confidence of each interval; the intervals are not corrected.
        resamples: Number of sign patterns and of bootstrap samples to draw.

    Raises:
        UsageError: If a report does not hold one of the metrics.
        DataError: If the reports cannot be paired.
    """
    found = [
        _difference(candidate, champion, measure, confidence, resamples) for measure in measures
    ]
    corrected = iter(holm([each.p_worse for each in found if each.p_worse is not None]))
    return tuple(
        each if each.p_worse is None else replace(each, p_worse=next(corrected)) for each in found
    )


def _difference(
    candidate: Report, champion: Report, measure: Measure, confidence: float, resamples: int
) -> MetricDifference:
    ours, theirs, sums, sizes = paired_units(candidate, champion, measure)
    units = len(sums)
    gain = float(sums.sum() / sizes.sum())
    return MetricDifference(
        measure=measure,
        candidate=float(ours.mean()),
        champion=float(theirs.mean()),
        # One unit shows no spread.
        interval=(gain, gain) if units < 2 else bca_interval(sums, sizes, confidence, resamples),
        n=int(sizes.sum()),
        units=units,
        p_worse=None if units < MIN_QUERIES else sign_flip_p_value(-sums, resamples),
    )


def significant_losses(
    trials: Mapping[str, Mapping[Measure, UnitScores]],
    references: Mapping[str, Mapping[Measure, UnitScores]],
    measures: Sequence[Measure],
    resamples: int = RESAMPLES,
) -> dict[str, tuple[Loss, ...]]:
    """Return the metrics in which each trial is significantly worse than its reference.

    Each metric is tested one-sided by sign flips, corrected over all trials by single-step max-T
    (see `pairwise_differences`) and over the metrics by Bonferroni's factor. If no trial is worse
    in any metric, the probability that the result names any trial is at most `LOSS_ALPHA`.

    Args:
        trials: Scores of each trial by metric, by the trial's name.
        references: Scores of the untuned model by metric, by the trial's name.
        measures: Metrics to test. A trial that cannot be paired with its reference, or that was
            evaluated on other examples than the first trial, is not tested.
        resamples: Number of sign patterns to draw at most.

    Returns:
        The losses by name, the largest first; trials without a loss are left out.
    """
    found: dict[str, list[Loss]] = {}
    for measure in measures:
        pairs = _pairs(trials, references, measure)
        if not pairs:
            continue
        sizes = next(iter(pairs.values()))[0].sizes
        losses = np.stack([theirs.sums - ours.sums for ours, theirs in pairs.values()])
        losses[np.abs(losses) <= EQUAL * sizes] = 0
        p_values = np.minimum(1.0, _max_t(losses, resamples) * len(measures))
        for name, row, p_value in zip(pairs, losses, p_values, strict=True):
            if p_value <= LOSS_ALPHA:
                loss = Loss(measure, -float(row.sum() / sizes.sum()), float(p_value))
                found.setdefault(name, []).append(loss)
    return {name: tuple(sorted(rows, key=lambda each: each.gain)) for name, rows in found.items()}


def _pairs(
    trials: Mapping[str, Mapping[Measure, UnitScores]],
    references: Mapping[str, Mapping[Measure, UnitScores]],
    measure: Measure,
) -> dict[str, tuple[UnitScores, UnitScores]]:
    pairs: dict[str, tuple[UnitScores, UnitScores]] = {}
    identity = None
    for name, scores in trials.items():
        ours, theirs = scores.get(measure), references.get(name, {}).get(measure)
        if ours is None or theirs is None or ours.identity != theirs.identity:
            continue
        identity = identity or ours.identity
        if ours.identity == identity:
            pairs[name] = (ours, theirs)
    return pairs


def _max_t(losses: Float64Array, resamples: int) -> Float64Array:
    """Return the one-sided p-value of each row, corrected over the rows; columns are units."""
    losses = losses[:, (losses != 0).any(axis=0)]
    norms = np.sqrt((losses**2).sum(axis=1, keepdims=True))
    scaled = np.divide(losses, norms, out=np.zeros_like(losses), where=norms > 0)
    observed = scaled.sum(axis=1)
    largest = np.sort(_largest(scaled, resamples))
    reached = len(largest) - np.searchsorted(largest, observed - CLOSE)
    drawn = 0 if losses.shape[1] <= EXACT_UNITS else 1
    p_values: Float64Array = (reached + drawn) / (len(largest) + drawn)
    return np.where(norms[:, 0] > 0, p_values, 1.0)


def _largest(scaled: Float64Array, resamples: int) -> Float64Array:
    """Return the largest statistic of any row, by pattern of signs."""
    units = scaled.shape[1]
    exact = units <= EXACT_UNITS
    affordable = max(FEWEST_PATTERNS, MOST_PRODUCTS // max(1, scaled.size))
    patterns = 2**units if exact else min(resamples, affordable)
    generator = np.random.default_rng(SEED)
    largest = np.empty(patterns)
    batch = max(1, BATCH_BYTES // (8 * max(scaled.shape)))
    for start in range(0, patterns, batch):
        count = min(batch, patterns - start)
        if exact:
            bits = np.arange(start, start + count)[:, np.newaxis] >> np.arange(units) & 1
        else:
            drawn = np.frombuffer(generator.bytes(count * units), dtype=np.uint8)
            bits = drawn.reshape(count, units) & 1
        largest[start : start + count] = ((2.0 * bits - 1) @ scaled.T).max(axis=1)
    return largest
