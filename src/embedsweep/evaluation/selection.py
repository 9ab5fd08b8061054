"""How much too high the score of a winner is, for having been picked."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, fmean

import numpy as np

from embedsweep.core.report import Measure, Report
from embedsweep.evaluation.resampling import standard_error
from embedsweep.evaluation.significance import units_of


def selection_optimism(
    reports: Sequence[Report], measure: Measure, passed_over: int = 0
) -> float | None:
    """By how much the best of equally good models would exceed its true value on these examples.

    The expected maximum of N normal deviates times the standard error of one model's mean, from
    what remains of its scores when each example's difficulty, the mean over models, is taken
    off. The maximum is Blom's approximation, "Statistical estimates and transformed
    beta-variables", 1958. Models that are not equally good are picked with less luck.

    Args:
        reports: On one benchmark. Where its data has groups, these are what is independent.
        measure: One with scores.
        passed_over: Models measured and not reported, because a better one of the same training
            was: they were chosen among too. Epochs of one training resemble each other, so that
            counting each as a model of its own makes the estimate too high rather than too low.

    Returns:
        None with fewer than two models, or two examples or groups: nothing shows the spread.
    """
    models = len(reports)
    if models < 2:
        return None
    ids = sorted(reports[0].scores[measure])
    scores = np.array([[report.scores[measure][each] for each in ids] for report in reports])
    of_models = [units_of(ids, rest, reports[0].groups) for rest in scores - scores.mean(axis=0)]
    if len(of_models[0][0]) < 2:
        return None
    variance = fmean(standard_error(sums, sizes) ** 2 for sums, sizes in of_models)
    # The mean over models holds a share of each, which the difference to it lacks.
    variance *= models / (models - 1)
    tried = models + passed_over
    highest = NormalDist().inv_cdf((tried - 0.375) / (tried + 0.25))
    return highest * sqrt(variance)
