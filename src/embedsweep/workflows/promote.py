"""Who is champion: candidate against champion on the sealed test split, decided on evidence."""

from __future__ import annotations

import getpass
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from embedsweep.core.canaries import check_canaries
from embedsweep.core.dataset import Benchmark, Dataset, Split
from embedsweep.core.errors import Refusal
from embedsweep.core.experiment import Experiment
from embedsweep.core.finalists import candidate_of
from embedsweep.core.looks import Look, LookRequest
from embedsweep.core.ports import OpenSweep, Version
from embedsweep.core.promotion import Comparison, Decision, Verdict
from embedsweep.core.report import Report, headline_measures
from embedsweep.core.trial import Completed, Role, Trial, TrialFailure, best_trial
from embedsweep.evaluation import (
    compare,
    evaluate,
    metric_differences,
    query_latency,
    slice_changes,
)
from embedsweep.workflows.compare import known_sweep, optimism_of
from embedsweep.workflows.losses import barred, read_losses
from embedsweep.workflows.services import Services
from embedsweep.workflows.standing import finish_move, standing_of


@dataclass(frozen=True)
class Promotion:
    """A decision, and what it means now.

    Attributes:
        decision: The decision on the candidate.
        recorded: Whether it was taken earlier.
        champion: The champion's version now, or `None`.
        outdated: The error of a recorded decision that no longer describes the registry.
    """

    decision: Decision
    recorded: bool
    champion: int | None
    outdated: Refusal | None = None


def promote(experiment: Experiment, dataset: Dataset, services: Services) -> Promotion:
    """Judge the sweep's best trial against the champion, on test data neither was chosen on.

    Where there is no champion, the untuned base model is made one first, so that deployment
    always finds the best model known and there is something to beat. The look at the test split
    is on record before the split is opened. A candidate that this split has judged before is not
    judged again, unless it was rejected for a loss that the guards now allow.

    Raises:
        UsageError: The experiment has no sweep.
        Refusal: No trial has a score, the test split can judge no further candidate, or the
            champion was removed by hand.
        DataError: The registry's record was tampered with.
    """
    sweep = known_sweep(services.ledger, experiment.name)
    trials = services.ledger.trials(sweep)
    losses = read_losses(services.ledger, trials, experiment.objective)
    candidate = candidate_of(trials, experiment.objective, barred(losses, experiment.policy))
    if candidate is None:
        raise Refusal(
            f"experiment {experiment.name!r}",
            "the ledger",
            f"no trial has a score ({len(trials)} ended, baselines included)",
            "see why with `embedsweep compare EXPERIMENT.yaml`, mend it, and run "
            "`embedsweep sweep EXPERIMENT.yaml --new-study`",
        )
    finish_move(services.registry, experiment.model)
    standing = standing_of(services.registry, experiment.model)
    benchmark = dataset.digests[Split.TEST]
    for decision in reversed(standing.history):
        same = decision.candidate_fingerprint == candidate.fingerprint
        if same and decision.benchmark == benchmark and not decision.rolled_back:
            if experiment.policy.lifts(decision) or standing.lost(decision):
                # The candidate's test use is paid for: what is lifted or was deleted is compared
                # again, and the evidence of its gain is unchanged.
                break
            return Promotion(decision, True, standing.number, standing.outdated(decision))
    standing.check_champion()
    reigning = standing.champion
    champion = reigning or _first_champion(experiment, services, trials, candidate)
    optimism = optimism_of(trials, experiment.objective, services.ledger)
    look = services.registry.look(_request(experiment, dataset, candidate))
    judged = _Judged(
        experiment=experiment,
        candidate=candidate,
        champion=champion,
        was_in_use=reigning is not None,
        look=look,
        tried=sum(
            isinstance(trial.outcome, Completed) and trial.role is Role.TRIAL for trial in trials
        ),
        optimism=optimism,
    )
    decision = _judge(judged, dataset.unseal(look), services, sweep)
    return Promotion(decision, recorded=False, champion=decision.champion_version)


def _request(experiment: Experiment, dataset: Dataset, candidate: Trial) -> LookRequest:
    return LookRequest(
        model=experiment.model,
        benchmark=dataset.digests[Split.TEST],
        sketch=dataset.test_sketch,
        candidate_fingerprint=candidate.fingerprint,
        candidate_run=candidate.run_id,
        at=now(),
        by=who(),
        plan=experiment.policy.plan,
    )


@dataclass(frozen=True)
class _Judged:
    experiment: Experiment
    candidate: Trial
    champion: Version
    was_in_use: bool
    look: Look
    tried: int
    optimism: float | None


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


def _judge(judged: _Judged, benchmark: Benchmark, services: Services, sweep: OpenSweep) -> Decision:
    """Measure both models, decide, and put the decision on record whatever it is."""
    champion = judged.champion
    rival = _measure(
        judged, benchmark, services, (champion.model_reference, champion.manifest_digest)
    )
    try:
        ours = _measure(judged, benchmark, services, (str(judged.candidate.model_reference), None))
    except TrialFailure as failure:
        why = f"its vectors of the test texts are {failure.kind}: {failure.message}"
        return _record(judged, (Verdict.REFUSED, (why,)), services, sweep, {}, None)
    reports = {"candidate": ours.report, "rival": rival.report}
    comparison = _compared(judged, ours, rival)
    slices = slice_changes(ours.report, rival.report, judged.experiment.objective)
    verdict = judged.experiment.policy.decide(comparison, judged.look.alpha, slices)
    return _record(judged, verdict, services, sweep, reports, comparison)


@dataclass(frozen=True)
class _Measured:
    report: Report
    dimension: int
    latency: float | None


def _measure(
    judged: _Judged,
    benchmark: Benchmark,
    services: Services,
    model: tuple[str, str | None],
) -> _Measured:
    """A model on the test split, by the same code for both; it is fetched, verified and dropped."""
    folder = Path(tempfile.mkdtemp(prefix="promote-", dir=services.work))
    try:
        opened = services.registry.fetch(model[0], folder, model[1])
        live = services.open_live(opened)
        check_canaries(live, folder, model[0])
        embedder = services.open(opened)
        report = evaluate(embedder, benchmark, judged.experiment.objective)
        latency = None
        if judged.experiment.policy.max_latency is not None:
            latency = query_latency(live, benchmark)
        return _Measured(report, embedder.dimension, latency)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compared(judged: _Judged, ours: _Measured, rival: _Measured) -> Comparison:
    policy = judged.experiment.policy
    comparison = compare(
        ours.report,
        rival.report,
        judged.experiment.objective,
        guards=tuple(policy.guards),
        confidence=policy.confidence,
        alpha=judged.look.alpha,
    )
    latencies = None
    if ours.latency is not None and rival.latency is not None:
        latencies = (ours.latency, rival.latency)
    measures = headline_measures(ours.report.scores.keys(), comparison.measure)
    differences = metric_differences(ours.report, rival.report, measures, policy.confidence)
    return replace(
        comparison,
        differences=tuple(replace(each, guard=policy.guard(each.measure)) for each in differences),
        dimensions=(ours.dimension, rival.dimension) if judged.was_in_use else None,
        latencies=latencies,
        optimism=judged.optimism,
    )


def _record(
    judged: _Judged,
    verdict: tuple[Verdict, tuple[str, ...]],
    services: Services,
    sweep: OpenSweep,
    reports: Mapping[str, Report],
    comparison: Comparison | None,
) -> Decision:
    registry = services.registry
    version = registry.publish(judged.experiment.model, judged.candidate)
    promoted = verdict[0] is Verdict.PROMOTED
    decision = Decision(
        verdict=verdict[0],
        model=judged.experiment.model,
        version=version.number,
        previous_version=judged.champion.number,
        champion_version=version.number if promoted else judged.champion.number,
        comparison=comparison,
        trials_tried=judged.tried,
        look=judged.look.number,
        alpha=judged.look.alpha,
        reasons=verdict[1],
        candidate_run=judged.candidate.run_id,
        rival_run=judged.champion.run_id,
        candidate_fingerprint=judged.candidate.fingerprint,
        rival_fingerprint=judged.champion.fingerprint,
        benchmark=judged.look.benchmark,
        at=now(),
        by=who(),
    )
    services.ledger.record_promotion(sweep, decision, reports)
    registry.describe(version, services.card(judged.candidate, decision))
    if promoted:
        registry.crown(version, expected=judged.champion.number, decision=decision)
    else:
        registry.record(decision)
        registry.challenge(version)
    return decision


def now() -> str:
    """Return the present time as decisions record it: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def who() -> str:
    """Return user and host as decisions record them."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
