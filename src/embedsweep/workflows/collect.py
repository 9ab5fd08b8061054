"""Collecting the models that nothing needs any more, and the folders that dead processes left."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from embedsweep.core.finalists import candidate_of
from embedsweep.core.ports import Ledger, Registry
from embedsweep.core.promotion import Decision, PromotionPolicy
from embedsweep.core.report import Measure
from embedsweep.core.trial import Role, Trial, best_trial
from embedsweep.core.upkeep import KeptModel, Leftover, Upkeep
from embedsweep.workflows.losses import Losses, barred, read_losses

Needs = Mapping[str, list[str]]
"""Why a model is needed, by its reference."""


@dataclass(frozen=True)
class Collection:
    """What was collected, or would be.

    Attributes:
        deleted: Whether it was.
        models: The models nothing needs.
        needed: The others, each with who needs it.
        leftovers: Folders of work whose processes have ended.
    """

    deleted: bool
    models: tuple[KeptModel, ...]
    needed: tuple[tuple[KeptModel, tuple[str, ...]], ...]
    leftovers: tuple[Leftover, ...]

    @property
    def size(self) -> int:
        """Bytes that are free then."""
        models = sum(model.size for model in self.models)
        return models + sum(leftover.size for leftover in self.leftovers)

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``gc --json`` prints."""
        return {
            "deleted": self.deleted,
            "bytes": self.size,
            "models": [_as_row(model) for model in self.models],
            "needed": [{**_as_row(model), "by": list(by)} for model, by in self.needed],
            "leftovers": [
                {"path": str(leftover.path), "bytes": leftover.size} for leftover in self.leftovers
            ],
        }


def collect(
    upkeep: Upkeep,
    ledger: Ledger,
    registry: Registry,
    keep: int,
    *,
    delete: bool = False,
) -> Collection:
    """Find what nothing needs, and remove it if told to.

    A model is needed that an alias points to, that is among the last champions of its name, that
    is the best, the best baseline, a finalist or under some guards the candidate of its
    experiment's newest sweep, whose sweep is running or locked, or that another program has
    registered. While anything is removed, no sweep
    or promotion of this machine can begin in the experiments concerned.

    Args:
        upkeep: Where the files are.
        ledger: Which trials are the best.
        registry: Who was champion.
        keep: How many champions of every name are needed, the newest first.
        delete: Remove it.

    Raises:
        DataError: A record of decisions was tampered with: it does not tell who was champion.
    """
    with ExitStack() as stack:
        held = set()
        for name in ledger.names():
            # Who only looks keeps nobody waiting.
            with ExitStack() as look:
                holder = stack if delete else look
                if holder.enter_context(upkeep.hold(name)):
                    held.add(name)
        needs = _needs(ledger, registry, keep)
        free: list[KeptModel] = []
        needed: list[tuple[KeptModel, tuple[str, ...]]] = []
        for model in upkeep.models():
            why = (*_own_needs(model, held), *needs.get(model.reference, ()))
            if why:
                needed.append((model, why))
            else:
                free.append(model)
        leftovers = upkeep.leftovers()
        if delete:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            for model in free:
                upkeep.remove(model, at)
            for leftover in leftovers:
                upkeep.discard(leftover)
    return Collection(delete, tuple(free), tuple(needed), tuple(leftovers))


def _own_needs(model: KeptModel, held: set[str]) -> list[str]:
    """Who needs the model by what is known of itself."""
    needs = []
    if model.is_in_use:
        needs.append("its sweep is running")
    elif model.experiment not in held:
        needs.append("a process of this machine works on its experiment")
    for registration in model.registrations:
        needs += [f"alias {registration.name}@{alias}" for alias in registration.aliases]
        if not registration.is_ours:
            needs.append(f"{registration}, which another program registered")
    return needs


def _needs(ledger: Ledger, registry: Registry, keep: int) -> Needs:
    needs: defaultdict[str, list[str]] = defaultdict(list)
    for name in registry.names():
        for number in _champions(registry.history(name))[:keep]:
            version = registry.resolve(name, str(number))
            if version is not None:
                needs[version.model_reference].append(f"champion {name}/{number}")
    for name in ledger.names():
        sweep = ledger.latest(name)
        if sweep is None:
            continue
        trials = ledger.trials(sweep)
        objective = Measure.parse(sweep.objective)
        for why, trial in _best(trials, objective, read_losses(ledger, trials, objective)):
            if trial.model_reference is not None:
                needs[trial.model_reference].append(f"{why} of the newest sweep of {name}")
    return needs


def _champions(decisions: Iterable[Decision]) -> list[int]:
    """The versions that were champion, the newest reign first."""
    reigns: list[int] = []
    for decision in decisions:
        for number in (decision.previous_version, decision.champion_version):
            if number is not None and reigns[-1:] != [number]:
                reigns.append(number)
    return list(dict.fromkeys(reversed(reigns)))


def _best(trials: list[Trial], objective: Measure, losses: Losses) -> list[tuple[str, Trial]]:
    named = [
        ("the best trial", best_trial(trials, objective, Role.TRIAL)),
        ("the candidate", candidate_of(trials, objective, barred(losses, PromotionPolicy()))),
        ("the best baseline", best_trial(trials, objective, Role.BASELINE)),
        *(("a finalist", trial) for trial in trials if trial.role is Role.FINALIST),
    ]
    found = [(why, trial) for why, trial in named if trial is not None]
    known = {trial.run_id for _, trial in found}
    return found + [
        ("the candidate under other guards", trial)
        for trial in candidates_under_guards(trials, objective, losses)
        if trial.run_id not in known
    ]


def candidates_under_guards(trials: list[Trial], objective: Measure, losses: Losses) -> list[Trial]:
    """Return the trials that some choice of guards makes the candidate; gc reads no experiment.

    Such a trial has no better one whose losses every guard allows that allows its own.
    """
    scored = [
        (-score, trial.number, trial)
        for trial in trials
        if trial.role is Role.TRIAL and (score := trial.score(objective)) is not None
    ]
    found: list[Trial] = []
    kept: list[dict[Measure, float]] = []
    for *_, trial in sorted(scored, key=lambda row: row[:2]):
        lost = {each.measure: each.gain for each in losses.get(trial.run_id, ())}
        if not any(
            all(measure in lost and gain >= lost[measure] for measure, gain in other.items())
            for other in kept
        ):
            found.append(trial)
            kept.append(lost)
    return found


def _as_row(model: KeptModel) -> dict[str, Any]:
    return {
        "model_reference": model.reference,
        "experiment": model.experiment,
        "trial": model.label,
        "run_id": model.run_id,
        "versions": [str(each) for each in model.registrations],
        "bytes": model.size,
    }
