"""Optuna, behind ask and tell: which recipe to try next, and what it was worth."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from embedsweep.core.design import initial_design
from embedsweep.core.experiment import Experiment, PrunerKind, Sampler
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.interrupts import uninterrupted
from embedsweep.core.recipe import Recipe
from embedsweep.core.scouts import Scout, led_by
from embedsweep.core.space import Scalar, SearchSpace
from embedsweep.workflows.services import OpenStudy

STARTUP_TRIALS = 5
"""At most so many trials come before the sampler's model of the space is consulted."""

NUMBER = "embedsweep_number"
"""User attribute: the number under which the ledger knows the trial."""


class OptunaSuggest:
    """Answers the search space from an Optuna trial; fulfils `core.ports.Suggest`."""

    def __init__(self, trial: optuna.trial.Trial) -> None:
        self._trial = trial

    def choice(self, name: str, options: Sequence[str | int | float]) -> str | int | float:
        chosen = self._trial.suggest_categorical(name, list(options))
        return next(option for option in options if option == chosen)

    def uniform(self, name: str, low: float, high: float, *, log: bool) -> float:
        return self._trial.suggest_float(name, low, high, log=log)

    def integer(self, name: str, low: int, high: int, *, log: bool) -> int:
        return self._trial.suggest_int(name, low, high, log=log)


@dataclass(frozen=True)
class Proposal:
    """A recipe to try, and the open Optuna trial behind it."""

    trial: optuna.trial.Trial
    arm: str
    recipe: Recipe


class Proposals:
    """The study of one sweep. One coordinator asks and tells.

    A signal waits until a call of the study ends, because it would leave its transaction open.
    """

    def __init__(self, study: optuna.study.Study, space: SearchSpace) -> None:
        self._study = study
        self._space = space

    @classmethod
    def open(cls, experiment: Experiment, name: str, open_study: OpenStudy) -> Proposals:
        """The study of a sweep, with the experiment's sampler and pruner.

        The sampler's seed depends on how many trials there are already, so that a sweep taken
        up again does not propose its first recipes a second time.
        """
        study = open_study(name, _sampler(experiment, 0), _pruner(experiment))
        study.sampler = _sampler(experiment, len(study.get_trials(deepcopy=False)))
        return cls(study, experiment.space)

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever proposed or begun with."""
        return not self._study.get_trials(deepcopy=False)

    @uninterrupted()
    def begin(self, first: Iterable[Mapping[str, Scalar]]) -> None:
        """Propose these values first; knobs without one are left to the sampler."""
        for values in filter(None, first):
            self._study.enqueue_trial(dict(values))

    @uninterrupted()
    def settle(self, scores: Mapping[int, float | None]) -> None:
        """Close what a dead coordinator left open.

        Args:
            scores: Objective by number of the trials the ledger has; None for those without.
                A trial recorded there is told; any other is proposed again.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            number = trial.user_attrs.get(NUMBER)
            if isinstance(number, int) and number in scores:
                self._tell(trial.number, scores[number])
            else:
                self._tell(trial.number, None)
                if trial.params:
                    self._study.enqueue_trial(trial.params)

    @uninterrupted()
    def ask(self) -> Proposal:
        trial = self._study.ask()
        arm, recipe = self._space.draw(OptunaSuggest(trial))
        return Proposal(trial, arm, recipe)

    @property
    def exhausted(self) -> bool:
        """Whether a finite space has been tried whole."""
        if self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return False
        size = self._space.size()
        ended = self._study.get_trials(
            deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        distinct = {tuple(sorted(trial.params.items())) for trial in ended if trial.params}
        return size is not None and len(distinct) >= size

    @uninterrupted()
    def tell(self, proposal: Proposal, score: float | None) -> None:
        """The objective reached, or None for a failure: a failure is never a score."""
        self._tell(proposal.trial.number, score)

    @uninterrupted()
    def tell_pruned(self, proposal: Proposal) -> None:
        self._study.tell(proposal.trial, state=TrialState.PRUNED, skip_if_finished=True)

    @uninterrupted()
    def retry(self, proposal: Proposal) -> None:
        """Give an interrupted recipe back, to be proposed before the sampler decides."""
        self._tell(proposal.trial.number, None)
        self._study.enqueue_trial(proposal.trial.params)

    def _tell(self, number: int, score: float | None) -> None:
        if score is None:
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(number, score, skip_if_finished=True)


def first_values(
    experiment: Experiment, best: Mapping[str, Iterable[Scout]]
) -> Iterator[Mapping[str, Scalar]]:
    """What is tried before the sampler decides, as far as it is fixed.

    Args:
        experiment: Its sampler decides how much of it is.
        best: By arm, the scouts whose recipes come first.
    """
    space = experiment.space
    if experiment.sampler is Sampler.GRID:
        yield from space.assignments()
        return
    draws = experiment.sampler is Sampler.RANDOM
    count = len(space.arms) if draws else _startup_trials(experiment)
    for point in led_by(initial_design(space, count), best):
        yield point.values


def _startup_trials(experiment: Experiment) -> int:
    """Trials before a model of the space is worth consulting."""
    return min(STARTUP_TRIALS, max(2, experiment.trials // 3))


def _sampler(experiment: Experiment, trials: int) -> optuna.samplers.BaseSampler:
    seed = int(fingerprint(experiment.space.seed, trials)[:8], 16)
    startup = _startup_trials(experiment)
    match experiment.sampler:
        case Sampler.TPE:
            with warnings.catch_warnings():
                # Conditional knobs need the grouped form, which Optuna still calls experimental.
                warnings.simplefilter("ignore", ExperimentalWarning)
                return optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=startup, multivariate=True, group=True
                )
        case Sampler.GP:
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=startup)
        case Sampler.RANDOM | Sampler.GRID:
            return optuna.samplers.RandomSampler(seed=seed)


def _pruner(experiment: Experiment) -> optuna.pruners.BasePruner:
    match experiment.pruner:
        case PrunerKind.NONE:
            return optuna.pruners.NopPruner()
        case PrunerKind.MEDIAN:
            return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
        case PrunerKind.HYPERBAND:
            return optuna.pruners.HyperbandPruner()
