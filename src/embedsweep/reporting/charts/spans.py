"""Intervals lying flat: one to a row of a table, or a few under one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.reporting.charts.paper import Sheet, drawing, horizontal_axis, line, point, word
from embedsweep.reporting.markup import Content, Markup, element, figure
from embedsweep.reporting.scales import Scale, extent

CELL_WIDTH, CELL_HEIGHT = 180.0, 18.0


def row_scale(values: Sequence[float]) -> Scale:
    """The scale that all rows of one table share."""
    low, high = extent(values, 0.03)
    return Scale(low, high, 2, CELL_WIDTH - 2)


def interval_cell(
    scale: Scale, score: float, interval: tuple[float, float] | None, arm: int | None
) -> Markup:
    """A score with its whisker, as wide as a table's cell.

    Args:
        scale: From `row_scale`.
        score: The point.
        interval: The whisker; None for none.
        arm: Place of the arm; None for a baseline.
    """
    middle = CELL_HEIGHT / 2
    whisker: list[Content] = []
    if interval is not None:
        low, high = (scale(end) for end in interval)
        whisker = [
            line(low, middle, high, middle, "whisker"),
            line(low, middle - 3, low, middle + 3, "whisker"),
            line(high, middle - 3, high, middle + 3, "whisker"),
        ]
    dot = (
        element("circle", cx=scale(score), cy=middle, r=3.4, class_="point plain")
        if arm is None
        else point(scale(score), middle, arm)
    )
    return _cell(*whisker, dot)


def change_cell(scale: Scale, change: float) -> Markup:
    """A bar from zero to a change; gains and losses differ by side as well as by colour."""
    zero, end = scale(0.0), scale(change)
    bar = element(
        "rect",
        x=min(zero, end),
        y=4,
        width=max(abs(end - zero), 0.5),
        height=CELL_HEIGHT - 8,
        class_="gain" if change >= 0 else "loss",
    )
    return _cell(line(zero, 0, zero, CELL_HEIGHT, "zero"), bar)


def share_cell(share: float) -> Markup:
    """A bar of a share of the whole cell."""
    width = max(0.0, min(1.0, share)) * (CELL_WIDTH - 4)
    return _cell(
        element("rect", x=2, y=4, width=width, height=CELL_HEIGHT - 8, class_="share"),
    )


def _cell(*content: Content) -> Markup:
    # The figures stand in the cells beside it.
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {figure(CELL_WIDTH)} {figure(CELL_HEIGHT)}",
        class_="cell",
        aria_hidden="true",
    )


def gain_chart(gain: float, interval: tuple[float, float], least: float, measure: str) -> Markup:
    """The gain on the test split, with its interval, beside zero and what was needed."""
    sheet = Sheet(520, 84, left=20, right=20, top=16, bottom=40)
    low, high = extent([gain, *interval, 0.0, least], 0.12)
    across, at = sheet.across(low, high), 28.0
    ends = [across(end) for end in interval]
    content: list[Content] = [
        horizontal_axis(sheet, across, f"gain in {measure} on the test split"),
        line(across(0.0), 4, across(0.0), sheet.height - sheet.bottom, "zero"),
        line(ends[0], at, ends[1], at, "whisker strong"),
        *(line(end, at - 5, end, at + 5, "whisker strong") for end in ends),
        element("circle", cx=across(gain), cy=at, r=5, class_="point headline"),
    ]
    if least:
        content.append(line(across(least), 4, across(least), sheet.height - sheet.bottom, "least"))
    says = f"The gain is {gain:+.4f}, its interval {interval[0]:+.4f} to {interval[1]:+.4f}."
    return drawing(sheet, "Gain on the test split", says, *content)


@dataclass(frozen=True)
class Pair:
    """A model's score on both splits; either may be unknown."""

    name: str
    valid: float | None
    test: float | None


def splits_chart(pairs: Sequence[Pair], optimism: float | None, measure: str) -> Markup:
    """Validation (hollow) against test (full), one row a model.

    Args:
        pairs: The candidate first.
        optimism: How much the first one's validation score is too high; drawn as a shade.
        measure: What the scores are.
    """
    sheet = Sheet(760, 56 + 40 * len(pairs), left=150, right=24, top=10, bottom=40)
    known = [each for pair in pairs for each in (pair.valid, pair.test) if each is not None]
    if optimism is not None and pairs and pairs[0].valid is not None:
        known.append(pairs[0].valid - optimism)
    across = sheet.across(*extent(known, 0.1))
    content: list[Content] = [horizontal_axis(sheet, across, measure)]
    for place, pair in enumerate(pairs):
        shade = optimism if place == 0 else None
        content.append(_pair(pair, across, 28 + 40 * place, shade))
    says = "; ".join(
        f"{pair.name}: {_said(pair.valid)} on validation, {_said(pair.test)} on test"
        for pair in pairs
    )
    return drawing(sheet, f"{measure} on both splits", says, *content)


def _pair(pair: Pair, across: Scale, at: float, optimism: float | None) -> Markup:
    content: list[Content] = [word(across.start - 14, at + 4, pair.name, "name", "end")]
    if pair.valid is not None and optimism is not None:
        low, high = across(pair.valid - optimism), across(pair.valid)
        content.append(
            element("rect", x=low, y=at - 8, width=high - low, height=16, class_="optimism")
        )
    if pair.valid is not None and pair.test is not None:
        content.append(line(across(pair.valid), at, across(pair.test), at, "whisker"))
    if pair.valid is not None:
        content.append(_dot(across(pair.valid), at, "hollow", f"validation {pair.valid:.4f}"))
    if pair.test is not None:
        content.append(_dot(across(pair.test), at, "", f"test {pair.test:.4f}"))
    return element("g", *content)


def _dot(x: float, y: float, kind: str, says: str) -> Markup:
    tip = element("title", says)
    return element("circle", tip, cx=x, cy=y, r=5, class_=f"point headline {kind}".rstrip())


def _said(score: float | None) -> str:
    return "not known" if score is None else f"{score:.4f}"
