"""What the commands print: JSON documents, tables and verdicts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from embedsweep.core.promotion import Comparison, Decision
from embedsweep.core.recipe import recipe_in_words
from embedsweep.core.report import Measure
from embedsweep.core.trial import Failed, Trial
from embedsweep.workflows.compare import Leaderboard

SIDE_MEASURES = ("mrr@10", "recall@10", "accuracy", "relevance_average_precision")
"""Shown beside the objective where the data gives them."""


def print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def note(line: str) -> None:
    """A line for people, beside the result."""
    print(line, file=sys.stderr)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; numbers (all but the last column) to the right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    for row in (head, *rows):
        *cells, last = (
            cell.rjust(width) if place < len(row) - 1 else cell
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join((*cells, last)).rstrip())


def print_leaderboard(board: Leaderboard) -> None:
    shown = [board.objective, *_side_measures(board)]
    head = ["trial", *map(str, shown), "seconds", "recipe"]
    rows = [
        _row(f"{trial.role.value[0]}{trial.number}", trial, shown)
        for trial in (*board.trials, *board.baselines)
    ]
    print(
        f"{board.experiment}: {len(board.trials)} trials (t), {len(board.baselines)} baselines (b)"
    )
    print_table(head, rows)


def _side_measures(board: Leaderboard) -> list[Measure]:
    keys = {key for trial in (*board.trials, *board.baselines) for key in trial.metrics}
    measures = (Measure.parse(name) for name in SIDE_MEASURES)
    return [
        measure
        for measure in measures
        if measure.key("valid") in keys and measure != board.objective
    ]


def _row(name: str, trial: Trial, shown: Sequence[Measure]) -> list[str]:
    scores = [trial.metrics.get(measure.key("valid")) for measure in shown]
    cells = ["-" if score is None else f"{score:.4f}" for score in scores]
    return [name, *cells, f"{trial.seconds:.0f}", _recipe(trial)]


def _recipe(trial: Trial) -> str:
    if isinstance(trial.outcome, Failed):
        return f"failed: {trial.outcome.kind}: {trial.outcome.message}"
    state = "" if trial.state == "completed" else f" ({trial.state})"
    return f"{recipe_in_words(trial.recipe)}{state}"


def print_decision(decision: Decision, *, recorded: bool) -> None:
    earlier = (
        f" (decided {decision.at}; this test split is not looked at twice)" if recorded else ""
    )
    print(f"{decision.model}: {decision.verdict.value}{earlier}")
    if decision.comparison is not None:
        _print_comparison(decision.comparison)
    for reason in decision.reasons:
        print(f"  because {reason}")
    print(f"  champion is version {decision.champion_version}")


def _print_comparison(found: Comparison) -> None:
    low, high = found.interval
    print(
        f"  test {found.measure}: candidate {found.candidate:.4f}, champion {found.rival:.4f}, "
        f"gain {found.gain:+.4f}"
    )
    print(
        f"  {found.confidence:.0%} interval {low:+.4f} to {high:+.4f}, "
        f"p = {found.p_value:.4g}, n = {found.n}, "
        f"better/equal/worse {found.wins}/{found.ties}/{found.losses}, "
        f"smallest detectable gain {found.smallest_detectable:.4f}"
    )


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """The shape that ``promote --json`` prints."""
    found = decision.comparison
    evidence: dict[str, Any] = {}
    if found is not None:
        evidence = {
            "measure": str(found.measure),
            "candidate": found.candidate,
            "champion": found.rival,
            "gain": found.gain,
            "interval": list(found.interval),
            "p_value": found.p_value,
            "n": found.n,
            "wins": found.wins,
            "ties": found.ties,
            "losses": found.losses,
            "smallest_detectable": found.smallest_detectable,
        }
    return {
        "verdict": decision.verdict.value,
        "model": decision.model,
        "version": decision.version,
        "previous_version": decision.previous_version,
        "champion_version": decision.champion_version,
        **evidence,
        "trials_tried": decision.trials_tried,
        "look": decision.look,
        "reasons": list(decision.reasons),
    }
