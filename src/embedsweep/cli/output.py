"""What the commands print: JSON documents, tables and verdicts."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from embedsweep.cli.tables import narrowest, paragraph, screen_width, table
from embedsweep.core.finalists import Finalist
from embedsweep.core.losses import LOSS_ALPHA
from embedsweep.core.promotion import Comparison, Decision
from embedsweep.core.report import Measure
from embedsweep.core.trial import Failed, Trial

if TYPE_CHECKING:
    from embedsweep.workflows.compare import Leaderboard
    from embedsweep.workflows.promote import Promotion
    from embedsweep.workflows.side_by_side import ScoredExample, SideBySide

SIDE_MEASURES = ("mrr@10", "recall@10", "accuracy", "relevance_average_precision")
"""Shown beside the objective where the data gives them."""

WIDEST_HEAD = 12
SHOWN_TEXT = 120
"""Characters shown of a text."""


def print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def note(line: str) -> None:
    """A line for people, beside the result."""
    print(line, file=sys.stderr)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their longest cell, as `tables.table` lays them out."""
    print("\n".join(table(head, rows, screen_width())))


def _print_text(text: str) -> None:
    print("\n".join(paragraph(text, screen_width())))


def print_leaderboard(board: Leaderboard) -> None:
    print(
        f"{board.experiment}: {len(board.trials)} trials (t), {len(board.baselines)} baselines (b)"
    )
    side, left_out = _side_measures(board), list[str]()
    head, rows = _cells(board, side)
    width = screen_width()
    while side and width is not None and narrowest(head, rows) > width:
        left_out.insert(0, str(side.pop()))
        head, rows = _cells(board, side)
    print_table(head, rows)
    if left_out:
        _print_text(f"a wider terminal and --json also show {', '.join(left_out)}")
    _print_evidence(board)
    _print_finalists(board)


def _cells(board: Leaderboard, side: Sequence[Measure]) -> tuple[list[str], list[list[str]]]:
    """The head and the rows of the leaderboard."""
    rows = [_row(board, trial, side) for trial in (*board.trials, *board.baselines)]
    head = [
        "trial",
        _stacked(str(board.objective)),
        "95% interval",
        "vs best",
        *(_stacked(str(measure)) for measure in side),
        "seconds",
        "recipe",
    ]
    # What could not be reckoned for any of them is no column.
    empty = {
        place
        for place, shown in ((2, board.intervals), (3, board.differences and board.best))
        if not shown
    }
    kept = [place for place in range(len(head)) if place not in empty]
    return [head[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _print_evidence(board: Leaderboard) -> None:
    """What the columns mean, and how many pairs really differ."""
    if board.differences:
        _print_text(
            "'=': no real difference from the best; 'worse', 'better': a real one, paired and "
            "corrected over all pairs"
        )
        real = sum(each.real for each in board.differences)
        _print_text(
            f"{real} of {len(board.differences)} pairs of models really differ (paired, corrected "
            "over all pairs, family-wise error 5 %)"
        )
    if board.losses_in_words:
        _print_text(board.losses_in_words)
    for line in board.notes:
        _print_text(f"note: {line}")


def _print_finalists(board: Leaderboard) -> None:
    """The recipes run on further seeds, and what promotion would judge."""
    if board.finalists:
        print()
        print_table(
            ("finalist", "mean", "+-", "on further seeds (f)"),
            [_finalist(board, each) for each in board.finalists],
        )
    candidate = board.candidate
    if candidate is None:
        return
    why = "the best trial" if board.passed_over is None else "the best of the other trials"
    for finalist in board.finalists:
        if candidate in finalist.repeats:
            why = (
                f"the median seed of {board.names[finalist.trial.run_id]}, which has the best mean"
            )
    name = board.names[candidate.run_id]
    _print_text(f"for promotion: {name}, {why}{board.passed_over_in_words}")


def _finalist(board: Leaderboard, finalist: Finalist) -> list[str]:
    mean, deviation = finalist.mean(board.objective), finalist.deviation(board.objective)
    repeats = ((each, each.score(board.objective)) for each in finalist.repeats)
    seeds = (
        f"{board.names[each.run_id]} {each.state if score is None else f'{score:.4f}'}"
        for each, score in repeats
    )
    return [board.names[finalist.trial.run_id], _number(mean), _number(deviation), ", ".join(seeds)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _stacked(measure: str) -> str:
    """A long name on several lines: no column need be wider than its numbers."""
    return measure.replace("_", "_\n") if len(measure) > WIDEST_HEAD else measure


def _side_measures(board: Leaderboard) -> list[Measure]:
    keys = {key for trial in (*board.trials, *board.baselines) for key in trial.metrics}
    measures = (Measure.parse(name) for name in SIDE_MEASURES)
    return [
        measure
        for measure in measures
        if measure.key("valid") in keys and measure != board.objective
    ]


def _row(board: Leaderboard, trial: Trial, side: Sequence[Measure]) -> list[str]:
    interval = board.intervals.get(trial.run_id)
    return [
        board.names[trial.run_id],
        _number(trial.metrics.get(board.objective.key("valid"))),
        f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "-",
        f"{_against_best(board, trial)}{board.mark(trial)}",
        *(_number(trial.metrics.get(measure.key("valid"))) for measure in side),
        f"{trial.seconds:.0f}",
        _recipe(trial),
    ]


def _against_best(board: Leaderboard, trial: Trial) -> str:
    if board.best is None or trial.run_id == board.best.run_id:
        return "best"
    found = board.difference(trial, board.best)
    if found is None:
        return "-"
    if not found.real:
        return "="
    return "better" if found.gain > 0 else "worse"


def _recipe(trial: Trial) -> str:
    if isinstance(trial.outcome, Failed):
        return f"failed: {trial.outcome.kind}: {trial.outcome.message}"
    state = "" if trial.state == "completed" else f" ({trial.state})"
    return f"{trial.recipe_in_words}{state}"


def print_side_by_side(found: SideBySide) -> None:
    pair = found.comparison
    unit = "" if pair.units == pair.n else f" in {pair.units} groups"
    print(f"{found.experiment}: {found.measure} on {pair.n} validation examples{unit}")
    names = found.first.name, found.second.name
    models = zip(names, (pair.candidate, pair.rival), (found.first, found.second), strict=True)
    print_table(
        ("model", str(found.measure), "recipe"),
        [(name, f"{score:.4f}", _recipe(model.trial)) for name, score, model in models],
    )
    low, high = pair.interval
    print(
        f"gain of {names[0]} over {names[1]}: {pair.gain:+.4f}, {pair.confidence:.0%} interval "
        f"{low:+.4f} to {high:+.4f}, p = {found.p_value:.4g}"
    )
    print(f"better/equal/worse {pair.wins}/{pair.ties}/{pair.losses}")
    print(
        "p is two-sided and of this pair alone: it is not corrected for the other pairs that "
        "could have been looked at"
    )
    if found.slices:
        print()
        print_table(
            ("examples", *names, "gain", "p", "slice (p corrected over slices)"),
            [
                (
                    str(each.n),
                    f"{each.first:.4f}",
                    f"{each.second:.4f}",
                    f"{each.first - each.second:+.4f}",
                    f"{each.p_value:.2g}",
                    one_line(each.name),
                )
                for each in found.slices
            ],
        )
    for name, examples in zip(names, (found.first_better, found.second_better), strict=True):
        print()
        print(f"where {name} is better{':' if examples else ': nowhere'}")
        for each in examples:
            _print_example(each, names)


def _print_example(scored: ScoredExample, names: tuple[str, str]) -> None:
    place = f", {one_line(scored.slice)}" if scored.slice is not None else ""
    print(
        f"  {scored.difference:+.4f}  {names[0]} {scored.first:.4f}, {names[1]} "
        f"{scored.second:.4f}  ({one_line(scored.example.id)}{place})"
    )
    for part in scored.example.parts:
        print(f"    {part.name}: {one_line(part.text)}")
    if scored.example.more:
        print(f"    and {scored.example.more} more relevant")


def one_line(text: str, width: int = SHOWN_TEXT) -> str:
    """A text of the user's as one line that no control character in it can disturb."""
    plain = "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
    return plain if len(plain) <= width else f"{plain[: width - 1]}…"


def print_decision(promotion: Promotion) -> None:
    decision = promotion.decision
    earlier = ""
    if promotion.outdated is not None:
        earlier = f" at {decision.at}, and this no longer describes the registry"
    elif promotion.recorded:
        earlier = f" (decided {decision.at}; this test split is not looked at twice)"
    print(f"{decision.model}: {decision.verdict.value}{earlier}")
    if decision.comparison is not None:
        _print_comparison(decision.comparison)
        _print_differences(decision.comparison)
    print(
        f"  look {decision.look} at this test split, which spends {decision.alpha:.4g} of the "
        f"false promotion rate; {_picked(decision)}"
    )
    for reason in decision.reasons:
        print(f"  because {reason}")
    print(f"  {champion_in_words(promotion.champion)}")


def champion_in_words(number: int | None) -> str:
    """Return the line that says which version is champion now."""
    return "no version is champion" if number is None else f"champion is version {number}"


def _picked(decision: Decision) -> str:
    """What picking the best of many did to its validation score."""
    tried = f"{decision.trials_tried} trial{'' if decision.trials_tried == 1 else 's'} tried"
    found = decision.comparison
    if found is None or found.optimism is None:
        return tried
    return f"{tried}: the validation score of the best is optimistic by about {found.optimism:.4f}"


def _print_comparison(found: Comparison) -> None:
    low, high = found.interval
    groups = "" if found.units == found.n else f" in {found.units} groups"
    print(
        f"  test {found.measure}: candidate {found.candidate:.4f}, champion {found.rival:.4f}, "
        f"gain {found.gain:+.4f}"
    )
    print(
        f"  {found.confidence:.0%} interval {low:+.4f} to {high:+.4f}, "
        f"p = {found.p_value:.4g}, n = {found.n}{groups}, "
        f"better/equal/worse {found.wins}/{found.ties}/{found.losses}, "
        f"smallest detectable gain {found.smallest_detectable:.4f}"
    )


def _print_differences(found: Comparison) -> None:
    """Print the changes of the other headline metrics, and what their p-values mean."""
    tested = 0
    for each in found.differences:
        low, high = each.interval
        tested += each.p_worse is not None
        p_value = "not tested" if each.p_worse is None else f"p(loss) = {each.p_worse:.4g}"
        print(
            f"  test {each.measure}: candidate {each.candidate:.4f}, champion {each.champion:.4f}, "
            f"gain {each.gain:+.4f} ({low:+.4f} to {high:+.4f}), {p_value}{each.remark}"
        )
    if tested:
        print(
            f"  p(loss): one-sided test of a loss, corrected for {tested} "
            f"metric{'' if tested == 1 else 's'}, significant at {LOSS_ALPHA} or less"
        )


def promotion_as_dict(promotion: Promotion) -> dict[str, Any]:
    """The shape that ``promote --json`` prints: the decision, and what it means now."""
    return {
        **decision_as_dict(promotion.decision),
        "recorded": promotion.recorded,
        "stands": promotion.outdated is None,
        "champion_now": promotion.champion,
    }


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """A decision as a JSON document."""
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
            "groups": found.units,
            "smallest_detectable": found.smallest_detectable,
            "optimism": found.optimism,
            "differences": [each.as_dict() for each in found.differences],
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
        "alpha": decision.alpha,
        "reasons": list(decision.reasons),
    }
