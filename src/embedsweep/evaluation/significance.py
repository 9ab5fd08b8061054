"""Whether one model is better than another, from their reports on the same benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from embedsweep.core.errors import DataError, Fault, UsageError
from embedsweep.core.promotion import Comparison
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.resampling import (
    Float64Array,
    bca_interval,
    resamples_for,
    sign_flip_p_value,
    smallest_detectable,
)

EQUAL = 1e-12
"""Scores of one query that differ by no more are a tie."""

SHOWN_IDS = 5
REMEDY = "measure both models on the same benchmark again"


def compare(
    candidate: Report,
    rival: Report,
    measure: Measure,
    guards: Sequence[Measure] = (),
    confidence: float = 0.95,
    alpha: float | None = None,
) -> Comparison:
    """Pair two reports query by query and weigh the evidence that the candidate is better.

    Queries are paired by id; nothing is dropped. Where the data has groups, queries of one group
    are taken to depend on each other: groups are flipped and resampled whole, and a query
    without a group stands alone. A p-value is never 0.

    Per-example scores of ``spearman`` are products of ranks within the whole sample, so for it
    the test and the interval hold the ranks fixed; they are approximate.

    Args:
        candidate: Report of the model that would be promoted.
        rival: Report of the model to beat.
        measure: What to compare; one with scores.
        guards: Measures of which only the change of the mean is told.
        confidence: Of the interval.
        alpha: Level of the test, which `smallest_detectable` and the fineness of the p-value are
            reckoned for; 1 minus the confidence if None.

    Raises:
        UsageError: The measure has no per-example scores, or a report lacks it or a guard.
        DataError: The reports cannot be paired.
    """
    scores, rival_scores, sums, sizes = paired_units(candidate, rival, measure, guards)
    differences = scores - rival_scores
    level = 1 - confidence if alpha is None else alpha
    _require_spread(len(sums), candidate, measure)
    wins = int((differences > EQUAL).sum())
    losses = int((differences < -EQUAL).sum())
    return Comparison(
        measure=measure,
        candidate=float(scores.mean()),
        rival=float(rival_scores.mean()),
        gain=float(differences.mean()),
        interval=bca_interval(sums, sizes, confidence),
        p_value=sign_flip_p_value(sums, resamples_for(level)),
        n=len(differences),
        units=len(sums),
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        smallest_detectable=smallest_detectable(sums, sizes, 1 - level),
        confidence=confidence,
        guards={guard: candidate.means[guard] - rival.means[guard] for guard in guards},
    )


def paired_units(
    candidate: Report, rival: Report, measure: Measure, guards: Sequence[Measure] = ()
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Return the scores of both models by example, and their differences by independent unit.

    Returns:
        The candidate's scores and the other model's, in one order of the examples; and the sum
        and the number of the paired differences of each unit.

    Raises:
        UsageError: If the measure has no per-example scores, or a report lacks it or a guard.
        DataError: If the reports cannot be paired.
    """
    _require_measures(candidate, rival, measure, guards)
    _require_pairs(candidate, rival, measure, guards)
    ours, theirs = candidate.scores[measure], rival.scores[measure]
    # Sorted, so that the same evidence gives the same numbers however it was stored.
    ids = sorted(ours)
    scores = np.array([ours[each] for each in ids], dtype=np.float64)
    rival_scores = np.array([theirs[each] for each in ids], dtype=np.float64)
    return (scores, rival_scores, *units_of(ids, scores - rival_scores, candidate.groups))


def units_of(
    ids: Sequence[str], differences: Float64Array, groups: Mapping[str, str]
) -> tuple[Float64Array, Float64Array]:
    """Sum of differences and size, by group in the order in which the ids meet them."""
    places: dict[tuple[str | None, str], int] = {}
    unit = np.empty(len(ids), dtype=np.int64)
    for row, each in enumerate(ids):
        key = ("group", groups[each]) if each in groups else (None, each)
        unit[row] = places.setdefault(key, len(places))
    sums = np.bincount(unit, weights=differences).astype(np.float64)
    return sums, np.bincount(unit).astype(np.float64)


def _require_spread(units: int, report: Report, measure: Measure) -> None:
    """Raise `DataError` where a single unit, or none, leaves nothing to compare it with."""
    if units < 2:
        raise DataError(
            f"{units} independent test example",
            f"the reports on benchmark {report.benchmark}",
            f"they hold {len(report.scores[measure])} scores of {measure} in {units} group, at "
            "least 2 groups or ungrouped examples are needed to see any spread",
            "add test data",
        )


def _require_measures(
    candidate: Report, rival: Report, measure: Measure, guards: Sequence[Measure]
) -> None:
    """Raise `UsageError` with all that is asked of a report and not in it."""
    if not measure.has_scores:
        raise UsageError(
            f"measure {measure}",
            "the comparison",
            "it has no score per example, and a paired test needs one",
            "compare by another measure, such as ndcg@10 or accuracy",
        )
    faults = []
    for name, report in (("candidate", candidate), ("rival", rival)):
        needed = [(measure, report.scores), *((guard, report.means) for guard in guards)]
        for each, held in needed:
            if each not in held:
                known = ", ".join(map(str, held)) or "none"
                faults.append(
                    Fault(
                        f"measure {each}",
                        f"the {name}'s report",
                        f"it is not there; the report holds {known}",
                        "choose a measure that both reports hold",
                    )
                )
    if faults:
        raise UsageError.of(faults)


def _require_pairs(
    candidate: Report, rival: Report, measure: Measure, guards: Sequence[Measure]
) -> None:
    """Raise `DataError` with all that keeps the two reports from being paired."""
    faults = []
    if candidate.benchmark != rival.benchmark:
        faults.append(
            Fault(
                "reports on different benchmarks",
                "the comparison",
                f"the candidate's benchmark is {candidate.benchmark}, the rival's is "
                f"{rival.benchmark}, expected the same",
                REMEDY,
            )
        )
    sides = ("candidate", candidate, rival), ("rival", rival, candidate)
    for name, report, other in sides:
        scores = report.scores[measure]
        missing = sorted(set(other.scores[measure]) - set(scores))
        unusable = sorted(each for each, score in scores.items() if not isfinite(score))
        unusable += [str(guard) for guard in guards if not isfinite(report.means[guard])]
        for what, ids in (("ids that are missing", missing), ("values not finite", unusable)):
            if ids:
                why = f"{len(ids)} found, expected none: {', '.join(ids[:SHOWN_IDS])}"
                why += ", …" if len(ids) > SHOWN_IDS else ""
                faults.append(Fault(f"{measure}: {what}", f"the {name}'s report", why, REMEDY))
    if dict(candidate.groups) != dict(rival.groups):
        faults.append(
            Fault(
                "different groups",
                "the comparison",
                f"the candidate's report has {len(candidate.groups)} ids in groups, the rival's "
                f"{len(rival.groups)}, expected the same ids in the same groups",
                REMEDY,
            )
        )
    if faults:
        raise DataError.of(faults)
