"""How much each knob decides, from the trials of a sweep."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from embedsweep.core.findings import Importance
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Domain, Uniform
from embedsweep.core.trial import Role, Trial

FEWEST_TRIALS = 20
"""With fewer completed trials, the best quarter is too few to say what they have in common."""

BEST = 0.25
"""The share of an arm's trials that count as its best."""


def importances(
    arms: Sequence[Arm], trials: Sequence[Trial], objective: Measure
) -> list[Importance]:
    """How much each knob decides whether a trial is among the best quarter of its arm.

    PED-ANOVA, conditional knobs included: Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently
    quantifying hyperparameter importance in arbitrary subspaces", IJCAI 2023.

    Args:
        arms: What could be tried; knobs with one value are left out.
        trials: Of one sweep; those that did not complete are left out.
        objective: Compared on the validation split.
    """
    return [_importance(arm, trials, objective) for arm in arms]


def _importance(arm: Arm, trials: Sequence[Trial], objective: Measure) -> Importance:
    varying = {
        name: _distribution(domain)
        for name, domain in arm.knobs.items()
        if domain.values is None or len(domain.values) > 1
    }
    scored = [
        (trial, score)
        for trial in trials
        if trial.role is Role.TRIAL
        and trial.arm == arm.name
        and (score := trial.score(objective)) is not None
    ]
    if not varying:
        return Importance(arm.name, len(scored), reason="no knob varies.")
    if len(scored) < FEWEST_TRIALS:
        why = f"{len(scored)} completed trials; at least {FEWEST_TRIALS} are needed to tell."
        return Importance(arm.name, len(scored), reason=why)
    if len({score for _, score in scored}) == 1:
        return Importance(arm.name, len(scored), reason="all trials score alike.")
    with warnings.catch_warnings():
        # Optuna calls the evaluator experimental.
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(
            _study(scored, varying), evaluator=PedAnovaImportanceEvaluator(target_quantile=BEST)
        )
    return Importance(arm.name, len(scored), {name: float(found[name]) for name in found})


def _study(
    scored: Sequence[tuple[Trial, float]], varying: dict[str, BaseDistribution]
) -> optuna.study.Study:
    """The trials as a study in memory; the study on disk may be gone, the ledger is not."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
    for trial, score in scored:
        recipe = recipe_as_dict(trial.recipe)
        known = {name: each for name, each in varying.items() if name in recipe}
        values = {name: recipe[name] for name in known}
        study.add_trial(create_trial(params=values, distributions=known, value=score))
    return study


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Uniform):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    return IntDistribution(domain.low, domain.high, log=domain.log)
