"""The leaderboard of a page."""

from __future__ import annotations

from collections.abc import Mapping

from embedsweep.core.findings import Findings, Standing
from embedsweep.core.trial import Role
from embedsweep.reporting.charts.paper import key
from embedsweep.reporting.charts.spans import interval_cell, row_scale
from embedsweep.reporting.markup import Markup, element
from embedsweep.reporting.scales import Scale
from embedsweep.reporting.tables import Cell, Row, number, table
from embedsweep.reporting.wording import badge, counted, described

SHOWN = 60
"""Trials in the table; baselines are shown all."""


def places_of(findings: Findings) -> dict[str, int]:
    """Each arm's place, which its colour and shape hang on."""
    return {arm.name: place for place, arm in enumerate(findings.arms)}


def arm_keys(findings: Findings) -> Markup:
    """What the colours and shapes mean."""
    items = (
        element("li", key(place), element("span", name))
        for name, place in places_of(findings).items()
    )
    return element("ul", *items, class_="keys")


def leaderboard(findings: Findings) -> Markup:
    rows, left = _chosen(findings)
    ends = [
        end for row in rows if row.score is not None for end in (row.score, *(row.interval or ()))
    ]
    scale, places = row_scale(ends), places_of(findings)
    marked = any(row.mark for row in rows)
    head = [
        "",
        str(findings.objective),
        "",
        *(["vs best"] if marked else []),
        "seconds",
        "what was tried",
    ]
    if any(row.interval for row in rows):
        head[2] = "95 % interval"
    best = findings.best.run_id if findings.best else None
    return element(
        "section",
        element("h2", "Leaderboard"),
        element("p", _in_words(findings), class_="note"),
        arm_keys(findings),
        table(
            head,
            [_row(row, scale, places, marked=marked, best=best) for row in rows],
            sortable=True,
        ),
        element("p", left, class_="note") if left else None,
        _finalists(findings),
    )


def _finalists(findings: Findings) -> Markup | None:
    """The best recipes on further seeds; their mean is what they are chosen by."""
    if not findings.finalists:
        return None
    rows = []
    for each in findings.finalists:
        own = each.trial.score(findings.objective)
        repeats = ", ".join(badge(repeat) for repeat in each.repeats)
        rows.append(
            Row(
                [
                    Cell(badge(each.trial), "rank"),
                    number(each.mean(findings.objective)),
                    number(each.deviation(findings.objective)),
                    number(own),
                    Cell(f"{repeats}: {described(each.trial)}", "words"),
                ]
            )
        )
    says = "Finalists: recipes trained again on further seeds, and chosen by the mean over those."
    head = ["of", "mean", "deviation", "first seed", "seeds and recipe"]
    return table(head, rows, caption=says)


def _in_words(findings: Findings) -> str:
    says = "Scores on the validation split, the best first; b is a baseline, t a trial"
    if any(row.trial.role is Role.FINALIST for row in findings.standings):
        says += ", f a finalist: a good trial on another seed"
    return f"{says}. {findings.marks}".rstrip()


def _chosen(findings: Findings) -> tuple[list[Standing], str]:
    """The rows to show, and words on those left out."""
    shown: list[Standing] = []
    left = 0
    for row in findings.standings:
        if row.trial.role is Role.BASELINE or sum(_drawn(each) for each in shown) < SHOWN:
            shown.append(row)
        else:
            left += 1
    if not left:
        return shown, ""
    return shown, f"The best {SHOWN} are shown; {counted(left, 'more trial')} are in MLflow."


def _drawn(row: Standing) -> bool:
    return row.trial.role is not Role.BASELINE


def _row(
    row: Standing, scale: Scale, places: Mapping[str, int], *, marked: bool, best: str | None
) -> Row:
    trial = row.trial
    drawn = None
    if row.score is not None:
        drawn = interval_cell(scale, row.score, row.interval, places.get(trial.arm))
    says = None if row.interval is None else f"{row.interval[0]:.4f} to {row.interval[1]:.4f}"
    whisker = element("div", drawn, title=says) if drawn else None
    kind = "first" if trial.run_id == best else "aside" if not _drawn(row) else None
    cells = [
        Cell(badge(trial), "rank"),
        number(row.score),
        Cell(whisker),
        *([Cell(row.mark, "mark")] if marked else []),
        number(trial.seconds, ".0f"),
        Cell(described(trial), "words"),
    ]
    return Row(cells, kind)
