"""How the trials learned, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.reporting.charts.paper import (
    ARM_COLOURS,
    Sheet,
    drawing,
    horizontal_axis,
    point,
    polyline,
    vertical_axis,
)
from embedsweep.reporting.markup import Content, Markup
from embedsweep.reporting.scales import extent

SHEET = Sheet(372, 250, left=48, right=14, top=28)
LONGEST = 120
"""Points drawn of one curve; a longer one is thinned."""


@dataclass(frozen=True)
class Course:
    """One curve: its points by epoch, the place of its arm, and what is said of it."""

    points: Sequence[tuple[int, float]]
    arm: int
    tip: str
    best: bool = False


def curves_chart(courses: Sequence[Course], name: str, title: str) -> Markup:
    """Every course on one sheet, the best one on top; one of a single epoch is a point.

    Args:
        courses: Any number.
        name: What is measured, as the axis says it.
        title: What the drawing is of.
    """
    finite = [
        (each, [row for row in thinned(each.points) if math.isfinite(row[1])]) for each in courses
    ]
    steps = [step for _, points in finite for step, _ in points]
    across = SHEET.across(min(steps, default=0) - 0.2, max(steps, default=1) + 0.2)
    upward = SHEET.upward(*extent(value for _, points in finite for _, value in points))
    content: list[Content] = [
        vertical_axis(SHEET, upward, name),
        horizontal_axis(SHEET, across, "epoch", whole=True),
    ]
    for each, points in sorted(finite, key=lambda row: row[0].best):
        places = [(across(step), upward(value)) for step, value in points]
        colour = f"arm-{each.arm % ARM_COLOURS}"
        weight = " strong" if each.best else ""
        if len(places) > 1:
            content.append(polyline(places, f"course {colour}{weight}", each.tip))
        content += [point(x, y, each.arm, tip=each.tip) for x, y in places[-1:]]
    says = f"{len(finite)} curves; the best trial's is drawn thick."
    return drawing(SHEET, title, says, *content)


def thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most about `LONGEST` points, evenly taken, the last one among them."""
    every = max(1, math.ceil(len(points) / LONGEST))
    return [row for place, row in enumerate(points) if (len(points) - 1 - place) % every == 0]
