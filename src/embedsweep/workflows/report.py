"""What a sweep found, gathered from the stores for the page that shows it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedsweep import __version__
from embedsweep.core.dataset import Dataset, Split
from embedsweep.core.errors import UserError
from embedsweep.core.experiment import Experiment
from embedsweep.core.findings import (
    Findings,
    HardExample,
    LearningCurve,
    SplitScores,
    Standing,
)
from embedsweep.core.ports import Ledger, OpenSweep, Registry
from embedsweep.core.promotion import Decision, SliceChange
from embedsweep.core.report import Measure, Report
from embedsweep.core.space import Arm, Choice, Domain, Integers, Uniform
from embedsweep.core.trial import Role, Trial, best_trial
from embedsweep.evaluation import Difference, slice_changes
from embedsweep.evaluation.examples import Example, example
from embedsweep.workflows.compare import Leaderboard, known_sweep, leaderboard, optimism_of
from embedsweep.workflows.standing import standing_of
from embedsweep.workflows.sweep.importance import importances

PAGE = "report.html"
"""The page's name among the files of the sweep's own run."""

LOSS = "train/loss"
SHOWN_HARD = 12
ABOVE, BELOW = "▲", "▼"
MARKS = (
    "'=': no real difference from the best; 'worse', 'better': a real one. "
    f"{ABOVE} really is above the untuned model, {BELOW} below it. Each pair is tested by sign "
    "flips, corrected for all pairs."
)
BILLED = ("embedded_tokens", "trained_tokens", "cost")


def findings(
    experiment: Experiment,
    dataset: Dataset,
    ledger: Ledger,
    registry: Registry,
    board: Leaderboard | None = None,
) -> Findings:
    """What the experiment's newest sweep found; the test split stays sealed.

    Args:
        experiment: Names the sweep and the model.
        dataset: Gives the validation texts.
        ledger: Where the sweep is.
        registry: Where its promotion is.
        board: The sweep's leaderboard, if it is at hand; else it is made.

    Raises:
        UsageError: The experiment has no sweep.
    """
    sweep = known_sweep(ledger, experiment.name)
    board = board or leaderboard(ledger, sweep.name, experiment.policy)
    known = _Sweep.read(experiment.model, ledger, sweep, board)
    standing = standing_of(registry, known.model)
    decision = _decision(known, standing.history)
    is_outdated = decision is not None and standing.outdated(decision) is not None
    best, untuned = known.best, known.untuned
    arms = arms_of(sweep.identity)
    return Findings(
        experiment=experiment.name,
        data=dataset.name,
        objective=known.objective,
        standings=standings(known.board),
        best=best,
        untuned=untuned,
        passed_over=known.board.passed_over,
        arms=arms,
        decision=decision,
        outdated=standing.in_words if is_outdated else "",
        min_gain=experiment.policy.min_gain,
        splits=_splits(known, decision, ledger),
        optimism=_optimism(known, decision, ledger),
        marks=_marks(known.board),
        finalists=known.board.finalists,
        importances=importances(arms, known.trials, known.objective),
        curves=_learning(known),
        slices=_slices(known),
        per_class=known.best_report.per_class if known.best_report else {},
        hard=_hard(known, dataset),
        facts=_facts(known, dataset),
    )


@dataclass(frozen=True)
class _Sweep:
    """A sweep and the reports of the two models that everything is told of."""

    opened: OpenSweep
    model: str
    board: Leaderboard
    trials: Sequence[Trial]
    told: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]
    best_report: Report | None
    untuned_report: Report | None

    @classmethod
    def read(cls, model: str, ledger: Ledger, sweep: OpenSweep, board: Leaderboard) -> _Sweep:
        trials = [*board.trials, *board.baselines, *board.repeats]
        names = (board.objective.key("valid"), LOSS, *BILLED)
        best, untuned = board.candidate, untuned_of(board)
        return cls(
            opened=sweep,
            model=model,
            board=board,
            trials=trials,
            told={trial.run_id: ledger.curves(trial.run_id, names) for trial in trials},
            best_report=ledger.report(best.run_id) if best else None,
            untuned_report=ledger.report(untuned.run_id) if untuned else None,
        )

    @property
    def objective(self) -> Measure:
        return self.board.objective

    @property
    def best(self) -> Trial | None:
        return self.board.candidate

    @property
    def untuned(self) -> Trial | None:
        return untuned_of(self.board)


def arms_of(identity: Mapping[str, Any]) -> list[Arm]:
    """The arms of a sweep, from what it was when it began; the inverse of `SearchSpace.as_dict`."""
    arms: Mapping[str, Any] = identity.get("space", {}).get("arms", {})
    if not isinstance(arms, Mapping):
        return []
    return [
        Arm(name, arm["backend"], {knob: _domain(row) for knob, row in arm["knobs"].items()})
        for name, arm in arms.items()
    ]


def _domain(row: Mapping[str, Any]) -> Domain:
    if "choice" in row:
        return Choice(tuple(row["choice"]))
    low, high, log = row["low"], row["high"], row["log"]
    whole = isinstance(low, int) and isinstance(high, int)
    return Integers(low, high, log) if whole else Uniform(low, high, log)


def untuned_of(board: Leaderboard) -> Trial | None:
    """The best untuned model, which a tuned one has to beat; None if none was measured."""
    return best_trial(list(board.baselines), board.objective)


def standings(board: Leaderboard) -> list[Standing]:
    """Every trial with its interval and marks, the best first."""
    trials = [*board.trials, *board.repeats, *board.baselines]
    rows = [
        Standing(
            trial,
            trial.score(board.objective),
            board.intervals.get(trial.run_id),
            _mark(board, trial),
        )
        for trial in trials
    ]
    return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0)))


def _marks(board: Leaderboard) -> str:
    tested = [MARKS] if board.differences else []
    worse = [f"{board.losses_in_words}."] if board.losses else []
    notes = [f"{note[:1].upper()}{note[1:]}." for note in board.notes]
    return " ".join([*tested, *worse, *notes])


def _mark(board: Leaderboard, trial: Trial) -> str:
    untuned, best = untuned_of(board), board.best
    if not board.differences or best is None:
        return board.mark(trial)
    found = board.difference(trial, best)
    marks = ["best"] if trial.run_id == best.run_id else [_beside(found)]
    from_untuned = board.difference(trial, untuned) if untuned else None
    if from_untuned is not None and from_untuned.real:
        marks.append(ABOVE if from_untuned.gain > 0 else BELOW)
    return " ".join([*marks, board.mark(trial)]).strip()


def _beside(found: Difference | None) -> str:
    """The words of the leaderboard on the command line."""
    if found is None:
        return ""
    if not found.real:
        return "="
    return "better" if found.gain > 0 else "worse"


def _decision(known: _Sweep, history: Sequence[Decision]) -> Decision | None:
    """The newest decision on a trial of this sweep."""
    mine = {trial.fingerprint for trial in known.trials if trial.role is not Role.BASELINE}
    test = known.opened.identity.get("data", {}).get(Split.TEST.value)
    for decision in reversed(history):
        judged_here = decision.benchmark == test and decision.candidate_fingerprint in mine
        if judged_here and not decision.rolled_back:
            return decision
    return None


def _splits(known: _Sweep, decision: Decision | None, ledger: Ledger) -> list[SplitScores]:
    if decision is None or (found := decision.comparison) is None:
        return []
    sides = (
        (f"candidate, v{decision.version}", decision.candidate_run, found.candidate),
        (f"champion, v{decision.previous_version}", decision.rival_run, found.rival),
    )
    return [
        SplitScores(name, _validation(known, run_id, ledger), test) for name, run_id, test in sides
    ]


def _validation(known: _Sweep, run_id: str, ledger: Ledger) -> float | None:
    """A model's score on this sweep's validation split, if it was measured there."""
    try:
        report = ledger.report(run_id)
    except UserError:
        # The champion may come of a run that was deleted since, or of another store.
        return None
    if known.best_report is None or report.benchmark != known.best_report.benchmark:
        return None
    return report.means.get(known.objective)


def _optimism(known: _Sweep, decision: Decision | None, ledger: Ledger) -> float | None:
    if decision is not None and decision.comparison is not None:
        return decision.comparison.optimism
    return optimism_of(known.trials, known.objective, ledger)


def _learning(known: _Sweep) -> list[LearningCurve]:
    key = known.objective.key("valid")
    curves = [
        LearningCurve(trial, known.told[trial.run_id].get(key, ()), told.get(LOSS, ()))
        for trial in known.trials
        if trial.role is not Role.BASELINE and (told := known.told[trial.run_id])
    ]
    return [curve for curve in curves if curve.objective or curve.loss]


def _slices(known: _Sweep) -> list[SliceChange]:
    ours, theirs = known.best_report, known.untuned_report
    if ours is None or theirs is None or ours.benchmark != theirs.benchmark:
        return []
    if not known.objective.has_scores:
        return []
    return slice_changes(ours, theirs, known.objective)


def _hard(known: _Sweep, dataset: Dataset) -> list[HardExample]:
    """The worst first, of equals those the untuned model did best; texts of the validation split.

    Empty where the data changed since: its texts would be put beside others' scores.
    """
    same = known.opened.identity.get("data", {}).get("valid") == dataset.digests[Split.VALID]
    if known.best_report is None or not same:
        return []
    scores = known.best_report.scores.get(known.objective, {})
    rival = known.untuned_report.scores.get(known.objective, {}) if known.untuned_report else {}
    hard: list[HardExample] = []
    for name in sorted(scores, key=lambda each: (scores[each], -rival.get(each, 0.0), each)):
        found = example(dataset.valid, known.objective, name)
        if found is not None and len(hard) < SHOWN_HARD:
            hard.append(_told(found, scores[name], rival.get(name)))
    return hard


def _told(found: Example, score: float, rival: float | None) -> HardExample:
    """The example with its truth in words; what a text is, is said where there are several."""
    asked, *truth = found.parts
    alone = len({part.name for part in truth}) == 1
    expected = [part.text if alone else f"{part.name}: {part.text}" for part in truth]
    more = [f"and {found.more} more"] if found.more else []
    return HardExample(found.id, asked.text, (*expected, *more), score, rival)


def _facts(known: _Sweep, dataset: Dataset) -> dict[str, str]:
    facts = {"sweep": f"{known.opened.name}, MLflow run {known.opened.run_id}"}
    digests = known.opened.identity.get("data", {})
    for split in Split:
        if digests.get(split.value) == dataset.digests[split]:
            count = f"{dataset.rows[split]:,}".replace(",", "\N{NO-BREAK SPACE}")
            rows = f"{count} rows, "
        else:
            rows = "changed since; it was "
        facts[f"{split.value} split"] = f"{rows}SHA-256 {str(digests.get(split.value, ''))[:16]}…"
    for name, digest in known.opened.identity.get("base_models", {}).items():
        facts[f"base model {name}"] = f"SHA-256 {str(digest)[:16]}…"
    if known.best is not None:
        facts["best recipe"] = ", ".join(
            f"{name} {value}" for name, value in known.best.as_dict()["recipe"].items()
        )
        if known.best.kept_epoch is not None:
            facts["epoch kept of the best"] = str(known.best.kept_epoch)
        facts["fingerprint of the best"] = known.best.fingerprint
    facts |= _billed(known)
    facts["experiment, by digest"] = known.opened.digest
    facts["made with"] = f"embedsweep {__version__}, Python {platform.python_version()}"
    return facts


def _billed(known: _Sweep) -> dict[str, str]:
    """What providers counted; nothing where none was asked."""
    sums = dict.fromkeys(BILLED, 0.0)
    asked = False
    for trial in known.trials:
        told = known.told[trial.run_id]
        if trial.reused_from is None and "cost" in told:
            asked = True
            for name in BILLED:
                sums[name] += told[name][-1][1] if told.get(name) else 0.0
    if not asked:
        return {}
    return {
        "billed by providers": f"{sums['cost']:.2f} for {sums['embedded_tokens']:.0f} tokens "
        f"embedded and {sums['trained_tokens']:.0f} trained on",
    }
