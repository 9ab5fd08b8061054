"""How the search went: every trial's score in the order they were tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.reporting.charts.paper import (
    Sheet,
    cross,
    drawing,
    horizontal_axis,
    line,
    point,
    polyline,
    vertical_axis,
    word,
)
from embedsweep.reporting.markup import Markup, element
from embedsweep.reporting.scales import Scale, extent

SHEET = Sheet(760, 300, right=132, top=28)
FLOOR = 16
"""Room above the axis where trials without a score stand."""

FAR = 1.0
"""A baseline further from the trials than this many times their range is named, not drawn."""


@dataclass(frozen=True)
class Tried:
    """A trial in the order of trying.

    Attributes:
        number: When.
        score: The objective; None for none.
        arm: Place of its arm.
        state: ``completed``, ``pruned`` or ``failed``.
        tip: What is said of it.
    """

    number: int
    score: float | None
    arm: int
    state: str
    tip: str


def history_chart(
    tried: Sequence[Tried], baselines: Sequence[tuple[str, float]], measure: str
) -> Markup:
    """Scores by trial number, the best so far, and the baselines as lines.

    Args:
        tried: By number.
        baselines: Name and score.
        measure: What the scores are.
    """
    scores = [each.score for each in tried if each.score is not None]
    near, far = _parted(scores, baselines)
    across = SHEET.across(*_whole([each.number for each in tried]))
    low, high = extent([*scores, *(score for _, score in near)])
    upward = Scale(low, high, SHEET.height - SHEET.bottom - FLOOR, SHEET.top)
    return drawing(
        SHEET,
        f"{measure} by trial",
        _in_words(tried, measure),
        vertical_axis(SHEET, upward, measure),
        horizontal_axis(SHEET, across, "trial", whole=True),
        *_lines(near, upward),
        _best_so_far(tried, across, upward),
        *(_mark(each, across, upward) for each in tried),
        *_named(far),
    )


def _named(far: Sequence[str]) -> list[Markup]:
    """The baselines that are not drawn, above or below where they would be."""
    drawn, at = [], SHEET.width - SHEET.right + 8
    for arrow, start, step in (("↑", SHEET.top - 12, -14), ("↓", SHEET.height - SHEET.bottom, 14)):
        for place, says in enumerate(each for each in far if each.endswith(arrow)):
            drawn.append(word(at, start + step * place, says, "note", "start"))
    return drawn


def _whole(numbers: Sequence[int]) -> tuple[float, float]:
    low, high = (min(numbers), max(numbers)) if numbers else (0, 1)
    return low - 0.5, high + 0.5


def _parted(
    scores: Sequence[float], baselines: Sequence[tuple[str, float]]
) -> tuple[list[tuple[str, float]], list[str]]:
    """Baselines near enough to be drawn to scale, and words on the others."""
    if not scores:
        return list(baselines), []
    low, high = extent(scores, 0)
    reach = max(FAR * (high - low), 0.02)
    near = [row for row in baselines if low - reach <= row[1] <= high + reach]
    far = [
        f"{name} {score:.4f} {'↓' if score < low else '↑'}"
        for name, score in baselines
        if (name, score) not in near
    ]
    return near, far


def _lines(baselines: Sequence[tuple[str, float]], upward: Scale) -> list[Markup]:
    """A dashed line each, the names kept from lying on one another."""
    drawn, lowest = [], float("-inf")
    for name, score in sorted(baselines, key=lambda row: -row[1]):
        at = upward(score)
        says = max(at + 4, lowest + 13)
        lowest = says
        end = SHEET.width - SHEET.right
        drawn.append(line(SHEET.left, at, end, at, "baseline"))
        drawn.append(word(end + 8, says, name, "note", "start"))
    return drawn


def _best_so_far(tried: Sequence[Tried], across: Scale, upward: Scale) -> Markup | None:
    points: list[tuple[float, float]] = []
    best: float | None = None
    for each in tried:
        if each.score is not None and each.state == "completed":
            raised = each.score if best is None else max(best, each.score)
            if best is not None:
                points.append((across(each.number), upward(best)))
            points.append((across(each.number), upward(raised)))
            best = raised
    if best is None:
        return None
    points.append((across.stop, upward(best)))
    return element("g", polyline(points, "best"))


def _mark(each: Tried, across: Scale, upward: Scale) -> Markup:
    at = across(each.number)
    if each.score is None:
        return cross(at, SHEET.height - SHEET.bottom - FLOOR / 2, each.arm, each.tip)
    kind = "" if each.state == "completed" else "hollow"
    return point(at, upward(each.score), each.arm, kind, each.tip)


def _in_words(tried: Sequence[Tried], measure: str) -> str:
    done = [each for each in tried if each.score is not None and each.state == "completed"]
    if not done:
        return f"{len(tried)} trials, none with a score."
    best = max(done, key=lambda each: each.score or 0.0)
    return (
        f"{len(tried)} trials, {len(done)} completed; the best, trial {best.number}, reached "
        f"{measure} {best.score:.4f}. Every figure is in the leaderboard."
    )
