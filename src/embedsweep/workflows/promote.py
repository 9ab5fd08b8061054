"""Who is champion: candidate against champion on the sealed test split, decided on evidence."""

from __future__ import annotations

import getpass
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import Refusal, UsageError
from embedsweep.core.experiment import Experiment
from embedsweep.core.ports import OpenSweep, Registry, Version
from embedsweep.core.promotion import Comparison, Decision, Verdict
from embedsweep.core.report import Report
from embedsweep.core.trial import Completed, Role, Trial, best_trial
from embedsweep.evaluation import compare, evaluate
from embedsweep.workflows.compare import known_sweep
from embedsweep.workflows.services import Services


@dataclass(frozen=True)
class Promotion:
    """A decision, and whether it was taken now or stood already."""

    decision: Decision
    recorded: bool


def promote(experiment: Experiment, dataset: Dataset, services: Services) -> Promotion:
    """Judge the sweep's best trial against the champion, on test data neither was chosen on.

    Where there is no champion, the untuned base model is made one first, so that deployment
    always finds the best model known and there is something to beat. A candidate that this test
    split has judged before is not judged again: each look spends evidence.

    Raises:
        UsageError: The experiment has no sweep.
        Refusal: No trial has a score.
    """
    sweep = known_sweep(services.ledger, experiment.name)
    trials = services.ledger.trials(sweep)
    candidate = best_trial(trials, experiment.objective, Role.TRIAL)
    if candidate is None:
        raise Refusal(
            f"experiment {experiment.name!r}",
            "the ledger",
            f"no trial has a score ({len(trials)} ended, baselines included)",
            "see why with `embedsweep compare`, mend it, and sweep again",
        )
    history = services.registry.history(experiment.model)
    benchmark = dataset.digests[Split.TEST]
    looks = [decision for decision in history if decision.benchmark == benchmark]
    for decision in looks:
        if decision.candidate_fingerprint == candidate.fingerprint:
            _finish_move(services.registry, history[-1])
            return Promotion(decision, recorded=True)
    champion = services.registry.resolve(experiment.model)
    if champion is None:
        champion = _first_champion(experiment, services, trials, candidate)
    reports = _measure(experiment, dataset, services, candidate, champion)
    judged = _Judged(
        experiment=experiment,
        candidate=candidate,
        champion=champion,
        benchmark=benchmark,
        look=len(looks) + 1,
        tried=sum(isinstance(trial.outcome, Completed) for trial in trials),
    )
    return Promotion(_decide(judged, reports, services, sweep), recorded=False)


def _finish_move(registry: Registry, last: Decision) -> None:
    """Move the champion if whoever decided so died before the alias had moved."""
    champion = registry.resolve(last.model)
    if champion is None or champion.number != last.previous_version:
        return
    if last.champion_version not in (None, champion.number):
        version = registry.resolve(last.model, str(last.champion_version))
        if version is not None:
            registry.crown(version, expected=champion.number)


@dataclass(frozen=True)
class _Judged:
    experiment: Experiment
    candidate: Trial
    champion: Version
    benchmark: str
    look: int
    tried: int


def _first_champion(
    experiment: Experiment, services: Services, trials: list[Trial], candidate: Trial
) -> Version:
    """Crown the best untuned model on validation, for want of a champion."""
    untuned = best_trial(trials, experiment.objective, Role.BASELINE)
    if untuned is None:
        raise Refusal(
            f"experiment {experiment.name!r}",
            "the ledger",
            f"trial {candidate.number} has no rival: there is no champion and no baseline",
            "run the sweep again, which measures the untuned base model first",
        )
    version = services.registry.publish(experiment.model, untuned)
    services.registry.crown(version, expected=None)
    return version


def _measure(
    experiment: Experiment,
    dataset: Dataset,
    services: Services,
    candidate: Trial,
    champion: Version,
) -> dict[str, Report]:
    """Both models on the test split, by the same code."""
    benchmark = dataset.unseal()
    references = {
        "candidate": (str(candidate.model_reference), None),
        "rival": (champion.model_reference, champion.manifest_digest),
    }
    reports = {}
    for side, (reference, manifest) in references.items():
        folder = Path(tempfile.mkdtemp(prefix="promote-", dir=services.work))
        try:
            model = services.registry.fetch(reference, folder, manifest)
            embedder = services.open(model)
            reports[side] = evaluate(embedder, benchmark, experiment.objective)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return reports


def _decide(
    judged: _Judged, reports: Mapping[str, Report], services: Services, sweep: OpenSweep
) -> Decision:
    policy = judged.experiment.policy
    comparison = compare(
        reports["candidate"],
        reports["rival"],
        judged.experiment.objective,
        guards=tuple(policy.guards),
        confidence=policy.confidence,
    )
    verdict, reasons = policy.decide(comparison)
    registry = services.registry
    version = registry.publish(judged.experiment.model, judged.candidate)
    promoted = verdict is Verdict.PROMOTED
    decision = Decision(
        verdict=verdict,
        model=judged.experiment.model,
        version=version.number,
        previous_version=judged.champion.number,
        champion_version=version.number if promoted else judged.champion.number,
        comparison=comparison,
        trials_tried=judged.tried,
        look=judged.look,
        reasons=reasons,
        candidate_run=judged.candidate.run_id,
        rival_run=judged.champion.run_id,
        candidate_fingerprint=judged.candidate.fingerprint,
        rival_fingerprint=judged.champion.fingerprint,
        benchmark=judged.benchmark,
        at=_now(),
        by=_who(),
    )
    services.ledger.record_promotion(sweep, decision, reports)
    if promoted:
        registry.crown(version, expected=judged.champion.number, decision=decision)
    else:
        registry.record(decision)
        registry.challenge(version)
    return decision


def rollback(registry: Registry, name: str) -> Decision:
    """Make the previous champion champion again.

    Raises:
        UsageError: The model is not known.
        Refusal: There is no previous champion.
    """
    champion = _known(registry, name)
    previous = registry.resolve(name, "previous")
    if previous is None:
        raise Refusal(
            f"model {name!r}",
            "the registry",
            f"version {champion.number} is its first champion, there is none before it",
            "see `embedsweep history`",
        )
    decision = Decision(
        verdict=Verdict.PROMOTED,
        model=name,
        version=previous.number,
        previous_version=champion.number,
        champion_version=previous.number,
        comparison=None,
        trials_tried=0,
        look=0,
        reasons=(f"rolled back from version {champion.number} by hand",),
        candidate_run=previous.run_id,
        rival_run=champion.run_id,
        candidate_fingerprint=previous.fingerprint,
        rival_fingerprint=champion.fingerprint,
        benchmark="",
        at=_now(),
        by=_who(),
        rolled_back=True,
    )
    registry.crown(previous, expected=champion.number, decision=decision)
    return decision


def history(registry: Registry, name: str) -> list[dict[str, Any]]:
    """Every decision on a model, oldest first, in the shape that ``history --json`` prints."""
    _known(registry, name)
    return [_as_row(decision) for decision in registry.history(name)]


def _as_row(decision: Decision) -> dict[str, Any]:
    gain = decision.comparison.gain if isinstance(decision.comparison, Comparison) else None
    promoted = decision.verdict is Verdict.PROMOTED
    return {
        "version": decision.version,
        "alias": "champion" if promoted else "challenger",
        "at": decision.at,
        "from": decision.previous_version,
        "to": decision.champion_version,
        "verdict": "rolled back" if decision.rolled_back else decision.verdict.value,
        "run_id": decision.candidate_run,
        "gain": gain,
        "by": decision.by,
    }


def _known(registry: Registry, name: str) -> Version:
    champion = registry.resolve(name)
    if champion is None:
        names = ", ".join(registry.names()) or "none"
        raise UsageError(
            f"model {name!r}",
            "the registry",
            f"it has no champion; models there are: {names}",
            "name one of those, or run `embedsweep promote EXPERIMENT.yaml` first",
        )
    return champion


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
