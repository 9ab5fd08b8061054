"""Parallel coordinates: an axis a knob, a line a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedsweep.core.space import Choice, Domain, Integers, Scalar
from embedsweep.reporting.charts.paper import (
    SHADES,
    Sheet,
    drawing,
    line,
    polyline,
    whole_only,
    word,
)
from embedsweep.reporting.markup import Content, Markup, element
from embedsweep.reporting.scales import Scale, extent, labels

WIDTH, HEIGHT = 760.0, 226.0
TOP, BOTTOM = 34.0, 8.0
UNUSED = 14.0
"""Room under an axis for the trials that have no such knob."""

SPREAD = 5.0
"""How far apart trials of the same choice may lie, either way."""

CHARACTER = 5.8
"""About how wide a character of a label is."""

MANY = 60
"""Above so many trials the lines are drawn thinner."""


@dataclass(frozen=True)
class Strand:
    """One trial: its values by knob, its score, and what is said of it."""

    values: Mapping[str, Scalar]
    score: float
    tip: str
    best: bool = False


def parallel_chart(
    knobs: Mapping[str, Domain],
    strands: Sequence[Strand],
    scores: Sequence[float],
    measure: str,
) -> Markup:
    """The knobs that vary and, last, the objective; the darker a line, the better its rank.

    Args:
        knobs: Domain by knob, in the order of the axes.
        strands: Trials with a score.
        scores: Of all arms, for a scale and shades that their charts share; at least one.
        measure: What the score is.
    """
    sheet = Sheet(WIDTH, HEIGHT, left=64, right=60, top=TOP, bottom=BOTTOM)
    places = Scale(0, max(len(knobs), 1), sheet.left, sheet.width - sheet.right)
    room = places(1) - places(0)
    axes = {
        name: _Axis(domain, places(at), room) for at, (name, domain) in enumerate(knobs.items())
    }
    low, high = min(scores), max(scores)
    ends = (low, high) if low < high else extent(scores)
    goal = Scale(*ends, HEIGHT - BOTTOM - UNUSED, TOP)
    end = places(len(knobs))
    lines: list[Content] = []
    ranked = sorted(strands, key=lambda each: (each.best, each.score))
    for rank, strand in enumerate(ranked):
        shift = _shift(rank)
        points = [(axis.at, axis.place(strand.values.get(name), shift))
                  for name, axis in axes.items()]  # fmt: skip
        kind = f"strand shade-{shade(strand.score, scores)}{' strong' if strand.best else ''}"
        lines.append(polyline([*points, (end, goal(strand.score))], kind, strand.tip))
    content = [element("g", *lines, class_="many" if len(lines) > MANY else None)]
    content += [axis.drawn(name) for name, axis in axes.items()]
    content.append(_numbers(end, goal, measure, room))
    says = f"{len(strands)} trials over {', '.join(knobs)} and {measure}."
    return drawing(sheet, "Knobs and scores", says, *content)


def shade(score: float, scores: Sequence[float]) -> int:
    """Which of the shades a score has by its rank among all, from 0 for the lowest.

    By rank, as one trial that went wrong would leave all others the same shade.
    """
    below = sum(each < score for each in scores)
    return int(below / max(len(scores) - 1, 1) * (SHADES - 1))


def _shift(rank: int) -> float:
    """Parts lines of the same choice; the golden ratio spreads any number of them evenly."""
    return (rank * 0.618034 % 1.0 - 0.5) * 2 * SPREAD


@dataclass(frozen=True)
class _Axis:
    domain: Domain
    at: float
    room: float

    @property
    def _scale(self) -> Scale:
        foot = HEIGHT - BOTTOM - UNUSED
        if isinstance(self.domain, Choice):
            return Scale(-0.35, len(self.domain.options) - 0.65, foot, TOP)
        return Scale(self.domain.low, self.domain.high, foot, TOP, self.domain.log)

    def place(self, value: Scalar | None, shift: float) -> float:
        if value is None:
            return HEIGHT - BOTTOM
        if isinstance(self.domain, Choice):
            known = value in self.domain.options
            return self._scale(self.domain.options.index(value)) + shift if known else TOP
        return self._scale(float(value))

    def drawn(self, name: str) -> Markup:
        if not isinstance(self.domain, Choice):
            whole = isinstance(self.domain, Integers)
            return _numbers(self.at, self._scale, name, self.room, whole=whole)
        marks: list[Content] = [_head(self.at, name, self.room), _stem(self.at)]
        for place, option in enumerate(self.domain.options):
            says = _short(str(option), self.room - 14)
            marks.append(word(self.at + 7, self._scale(place) + 4, says, "tick halo", "start"))
        return element("g", *marks)


def _numbers(at: float, scale: Scale, name: str, room: float, *, whole: bool = False) -> Markup:
    ticks = whole_only(scale.ticks(5)) if whole else scale.ticks(5)
    marks: list[Content] = [_head(at, name, room), _stem(at)]
    for tick, says in zip(ticks, labels(ticks), strict=True):
        marks.append(line(at - 3, scale(tick), at + 3, scale(tick), "base"))
        marks.append(word(at + 7, scale(tick) + 4, says, "tick halo", "start"))
    return element("g", *marks)


def _head(at: float, name: str, room: float) -> Markup:
    return word(at, TOP - 18, _short(name, room), "axis")


def _stem(at: float) -> Markup:
    return line(at, TOP, at, HEIGHT - BOTTOM - UNUSED, "base")


def _short(says: str, room: float) -> str:
    longest = max(4, int(room / CHARACTER))
    says = says.replace("_", " ")
    return says if len(says) <= longest else f"{says[: longest - 1].rstrip()}…"
