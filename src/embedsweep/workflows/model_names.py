"""Which of a sweep's models a user means: by its name in the leaderboard, or by a reference."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedsweep.core.errors import Fault, UsageError
from embedsweep.core.experiment import Experiment
from embedsweep.core.ports import Ledger, OpenSweep, Registry, Version
from embedsweep.core.trial import Completed, Failed, Pruned, Role, Trial
from embedsweep.workflows.compare import name_of

WHERE = "the sweep"
CHAMPION = "champion"


@dataclass(frozen=True)
class Named:
    """A trial with a score, and what to call it."""

    name: str
    trial: Trial


def named_models(
    words: Sequence[str],
    experiment: Experiment,
    sweep: OpenSweep,
    ledger: Ledger,
    registry: Registry,
) -> list[Named]:
    """The models that the words mean, in their order.

    A word is a name of the leaderboard (``t3``, ``b0``, ``f2``), ``champion``, ``models:/m-…``,
    ``models:/name/3``, ``models:/name@alias`` or ``runs:/…``. A champion of an earlier sweep of
    the experiment is known too.

    Raises:
        UsageError: A word means no model of the sweep, or one without a score, or the words mean
            one model twice; all that is wrong at once.
    """
    known = _Known(experiment, sweep, ledger, registry)
    found: list[Named] = []
    faults: list[Fault] = []
    for word in words:
        try:
            found.append(known.find(word))
        except UsageError as error:
            faults += error.faults
    if not faults and len({each.trial.run_id for each in found}) < len(found):
        faults.append(
            Fault(
                " and ".join(words), WHERE, f"they are one model, {found[0].name}", "name another"
            )
        )
    if faults:
        raise UsageError.of(faults)
    return found


class _Known:
    def __init__(
        self, experiment: Experiment, sweep: OpenSweep, ledger: Ledger, registry: Registry
    ) -> None:
        self._experiment = experiment
        self._ledger = ledger
        self._registry = registry
        self._trials = {name_of(trial): trial for trial in ledger.trials(sweep)}

    def find(self, word: str) -> Named:
        trial = self._trials.get(word)
        if trial is not None:
            return Named(word, _with_score(word, trial))
        if word == CHAMPION:
            return self._of_version(word, f"models:/{self._experiment.model}@{CHAMPION}")
        if word.startswith("runs:/"):
            run_id = word.removeprefix("runs:/")
            return self._of_run(word, run_id)
        if word.startswith("models:/"):
            for each in self._trials.values():
                if each.model_reference == word:
                    return Named(name_of(each), _with_score(word, each))
            return self._of_version(word, word)
        raise self._unknown(word)

    def _of_run(self, word: str, run_id: str) -> Named:
        for trial in self._trials.values():
            if run_id in (trial.run_id, trial.reused_from):
                return Named(name_of(trial), _with_score(word, trial))
        raise self._unknown(word)

    def _of_version(self, word: str, reference: str) -> Named:
        name, _, which = reference.removeprefix("models:/").replace("@", "/").partition("/")
        version = self._registry.resolve(name, which) if which else None
        if version is None:
            raise self._unknown(word)
        shown = f"{word} (version {version.number})"
        for trial in self._trials.values():
            if _is_of(trial, version):
                return Named(f"{name_of(trial)}, {shown}", _with_score(word, trial))
        # An earlier sweep of the experiment may have made it.
        earlier = self._ledger.find(self._experiment.name, version.fingerprint)
        if earlier is None:
            raise self._unknown(word)
        return Named(shown, earlier)

    def _unknown(self, word: str) -> UsageError:
        near = difflib.get_close_matches(word.lower(), [*self._trials, CHAMPION], n=1)
        return UsageError(
            f"model {word!r}",
            WHERE,
            f"it has {_listed(self._trials)}; {CHAMPION}, models:/… and runs:/… of those are known "
            "too",
            f"did you mean {near[0]}? Write {near[0]}" if near else "name one of those",
        )


def _is_of(trial: Trial, version: Version) -> bool:
    same_run = version.run_id in (trial.run_id, trial.reused_from)
    return same_run or (trial.fingerprint == version.fingerprint and trial.state == "completed")


def _with_score(word: str, trial: Trial) -> Trial:
    """The trial, if it completed; else `UsageError`."""
    if isinstance(trial.outcome, Completed):
        return trial
    why = f"{name_of(trial)} was pruned"
    if isinstance(trial.outcome, Pruned):
        why += f" after epoch {trial.outcome.epoch}"
    if isinstance(trial.outcome, Failed):
        why = f"{name_of(trial)} failed ({trial.outcome.kind}: {trial.outcome.message})"
    raise UsageError(f"model {word!r}", WHERE, f"{why} and has no scores", "name one that has")


def _listed(trials: Mapping[str, Trial]) -> str:
    """``t0 to t9, b0 to b2``: hundreds of names are not spelt out."""
    parts = []
    for role in (Role.TRIAL, Role.BASELINE, Role.FINALIST):
        names = [name for name, trial in trials.items() if trial.role is role]
        if names:
            parts.append(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}")
    return ", ".join(parts) or "no trial yet"
