"""What every drawing stands on: a sheet with margins, axes, points and their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.reporting.markup import Content, Markup, element, figure
from embedsweep.reporting.scales import Scale, labels

ARM_COLOURS = 6
SHAPES = ("circle", "square", "triangle", "diamond")
SHADES = 7
NEARLY = 1e-9


@dataclass(frozen=True)
class Sheet:
    """A drawing's size and the margins around its plot, in units of the page's text."""

    width: float
    height: float
    left: float = 56
    right: float = 16
    top: float = 12
    bottom: float = 40

    def across(self, low: float, high: float, *, log: bool = False) -> Scale:
        return Scale(low, high, self.left, self.width - self.right, log)

    def upward(self, low: float, high: float, *, log: bool = False) -> Scale:
        return Scale(low, high, self.height - self.bottom, self.top, log)


def drawing(sheet: Sheet, title: str, description: str, *content: Content) -> Markup:
    """The whole SVG; title and description are what it says to those who cannot see it."""
    return element(
        "svg",
        element("title", title),
        element("desc", description),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {figure(sheet.width)} {figure(sheet.height)}",
        role="img",
        class_="chart",
        style=f"max-width:{figure(sheet.width)}px",
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def word(x: float, y: float, says: str, kind: str = "tick", anchor: str = "middle") -> Markup:
    return element("text", says, x=x, y=y, class_=kind, text_anchor=anchor)


def polyline(points: Sequence[tuple[float, float]], kind: str, tip: str | None = None) -> Markup:
    drawn = " ".join(f"{figure(x)},{figure(y)}" for x, y in points)
    return element("polyline", _tip(tip), points=drawn, class_=kind)


def vertical_axis(sheet: Sheet, scale: Scale, name: str, count: int = 5) -> Markup:
    """Numbers at the left and light lines across."""
    ticks = scale.ticks(count)
    marks: list[Content] = []
    for tick, says in zip(ticks, labels(ticks), strict=True):
        at = scale(tick)
        marks.append(line(sheet.left, at, sheet.width - sheet.right, at, "grid"))
        marks.append(word(sheet.left - 8, at + 4, says, anchor="end"))
    marks.append(word(0, sheet.top - 12, name, "axis", anchor="start"))
    return element("g", *marks)


def horizontal_axis(sheet: Sheet, scale: Scale, name: str, *, whole: bool = False) -> Markup:
    """Numbers below; only whole ones where there is nothing between."""
    ticks = whole_only(scale.ticks(8)) if whole else scale.ticks(8)
    floor = sheet.height - sheet.bottom
    marks: list[Content] = [line(sheet.left, floor, sheet.width - sheet.right, floor, "base")]
    for tick, says in zip(ticks, labels(ticks), strict=True):
        marks.append(line(scale(tick), floor, scale(tick), floor + 4, "base"))
        marks.append(word(scale(tick), floor + 17, says))
    marks.append(word(sheet.width - sheet.right, floor + 33, name, "axis", anchor="end"))
    return element("g", *marks)


def whole_only(ticks: Sequence[float]) -> list[float]:
    return [float(round(tick)) for tick in ticks if abs(tick - round(tick)) < NEARLY]


def point(x: float, y: float, place: int, kind: str = "", tip: str | None = None) -> Markup:
    """A point whose shape and colour are those of the arm at a place."""
    classes = f"point arm-{place % ARM_COLOURS} {kind}".rstrip()
    shape, size = SHAPES[place % len(SHAPES)], 4.2
    if shape == "circle":
        return element("circle", _tip(tip), cx=x, cy=y, r=size, class_=classes)
    if shape == "square":
        side = 2 * size - 1
        at = {"x": x - side / 2, "y": y - side / 2, "width": side, "height": side}
        return element("rect", _tip(tip), class_=classes, **at)
    if shape == "triangle":
        foot, half = y + size - 1, size + 0.4
        corners = [(x, y - size - 0.8), (x + half, foot), (x - half, foot)]
    else:
        reach = size + 1
        corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
    drawn = " ".join(f"{figure(a)},{figure(b)}" for a, b in corners)
    return element("polygon", _tip(tip), points=drawn, class_=classes)


def cross(x: float, y: float, place: int, tip: str | None = None) -> Markup:
    """Marks a trial that has no score."""
    r = 3.6
    path = (
        f"M{figure(x - r)} {figure(y - r)}L{figure(x + r)} {figure(y + r)}"
        f"M{figure(x - r)} {figure(y + r)}L{figure(x + r)} {figure(y - r)}"
    )
    return element("path", _tip(tip), d=path, class_=f"cross arm-{place % ARM_COLOURS}")


def key(place: int) -> Markup:
    """An arm's point, small enough for a line of text."""
    mark = point(7, 7, place)
    return element("svg", mark, viewBox="0 0 14 14", class_="key", aria_hidden="true")


def _tip(says: str | None) -> Markup | None:
    return None if says is None else element("title", says)
