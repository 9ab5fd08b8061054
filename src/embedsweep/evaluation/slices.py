"""What a candidate changes for the examples of each slice of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embedsweep.core.promotion import SliceChange
from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.resampling import sign_flip_p_value
from embedsweep.evaluation.significance import units_of


def slice_changes(candidate: Report, rival: Report, measure: Measure) -> list[SliceChange]:
    """The change of every slice, the greatest loss first; empty where the data has no slices.

    Examples without a slice are in none. Groups count as in `compare`: one that reaches over
    several slices is in each of them a unit.

    Args:
        candidate: Report of the model that would be promoted.
        rival: Report of the model to beat; one that `compare` could pair with it.
        measure: One with scores.
    """
    members: dict[str, list[str]] = {}
    # Sorted, so that the same evidence gives the same numbers however it was stored.
    for each in sorted(candidate.scores[measure]):
        if each in candidate.slices:
            members.setdefault(candidate.slices[each], []).append(each)
    changes = []
    for name, ids in members.items():
        scores, rival_scores = (
            np.array([report.scores[measure][each] for each in ids], dtype=np.float64)
            for report in (candidate, rival)
        )
        losses, _ = units_of(ids, rival_scores - scores, candidate.groups)
        means = float(scores.mean()), float(rival_scores.mean())
        changes.append(SliceChange(name, len(ids), *means, p_worse=sign_flip_p_value(losses)))
    adjusted = holm([each.p_worse for each in changes])
    changes = [replace(each, p_worse=p) for each, p in zip(changes, adjusted, strict=True)]
    return sorted(changes, key=lambda each: (each.gain, each.name))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number, in their order.

    Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6, 1979.
    """
    adjusted = [0.0] * len(p_values)
    least = 0.0
    for smaller, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - smaller) * p_values[place]))
        adjusted[place] = least
    return adjusted
