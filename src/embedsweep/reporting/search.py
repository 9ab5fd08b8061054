"""How the search went: its history, its knobs, what mattered, and how the trials learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

from embedsweep.core.findings import Curve, Findings, Standing
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.core.space import Arm, Domain
from embedsweep.core.trial import Role
from embedsweep.reporting.charts.curves import Course, curves_chart
from embedsweep.reporting.charts.history import Tried, history_chart
from embedsweep.reporting.charts.parallel import Strand, parallel_chart
from embedsweep.reporting.charts.spans import share_cell
from embedsweep.reporting.markup import Content, Markup, element, joined
from embedsweep.reporting.standings import arm_keys, places_of
from embedsweep.reporting.tables import Cell, Row, number, table
from embedsweep.reporting.wording import counted, tip

SHOWN_CURVES = 60
"""Curves drawn: those of the best trials."""


def history(findings: Findings) -> Markup:
    """Every trial in the order of trying."""
    places, objective = places_of(findings), findings.objective
    drawn = sorted(_of(findings, Role.TRIAL), key=lambda row: row.trial.number)
    tried = [
        Tried(
            row.trial.number,
            row.trial.metrics.get(objective.key("valid")) if row.trial.state != "failed" else None,
            places.get(row.trial.arm, 0),
            row.trial.state,
            tip(row.trial, row.score),
        )
        for row in drawn
    ]
    baselines = _baselines(findings)
    return element(
        "section",
        element("h2", "How the search went"),
        element("p", _search_in_words(drawn), class_="note"),
        arm_keys(findings),
        element("figure", history_chart(tried, baselines, str(objective)), class_="wide"),
    )


def _baselines(findings: Findings) -> list[tuple[str, float]]:
    """Baselines by what they are; those that score alike, as one model in two places does, once."""
    found: dict[tuple[str, float], None] = {}
    for row in _of(findings, Role.BASELINE):
        if row.score is not None:
            method = row.trial.as_dict()["recipe"].get("method", "baseline")
            found[(str(method), round(row.score, 6))] = None
    return list(found)


def _search_in_words(drawn: Sequence[Standing]) -> str:
    says = "The line is the best score so far; dashed lines are the baselines."
    states = {row.trial.state for row in drawn}
    if "pruned" in states:
        says += " A hollow mark was pruned at the score it had reached."
    if "failed" in states:
        says += " A cross at the foot failed and has no score."
    return says


def knobs(findings: Findings) -> Markup:
    """Parallel coordinates, a drawing an arm."""
    charts: list[Content] = []
    scores = [row.score for row in _scored(findings) if row.score is not None]
    for arm in findings.arms:
        drawn = _arm_chart(findings, arm, scores)
        if drawn is not None:
            charts += [element("h3", arm.name), drawn]
    if not charts:
        charts = [element("p", "No knob varies, or no trial completed.", class_="note")]
    ramp = element("span", class_="ramp")
    return element(
        "section",
        element("h2", "The knobs"),
        element(
            "p",
            joined("A line is a trial, from its knobs to its score: low", ramp, "high, by rank. "),
            "The thick one is the best of its arm; a knob that a trial does not have is passed "
            "below its axis.",
            class_="note",
        ),
        *charts,
    )


def _arm_chart(findings: Findings, arm: Arm, scores: Sequence[float]) -> Markup | None:
    varying = varied(arm)
    rows = [row for row in _scored(findings) if row.trial.arm == arm.name]
    if not varying or not rows:
        return None
    top = max(rows, key=lambda row: row.score or 0.0)
    strands = [
        Strand(
            {name: value for name, value in recipe_as_dict(row.trial.recipe).items()
             if name in varying},
            row.score or 0.0,
            tip(row.trial, row.score),
            row is top,
        )
        for row in rows
    ]  # fmt: skip
    chart = parallel_chart(varying, strands, scores, str(findings.objective))
    return element("figure", chart, class_="wide")


def varied(arm: Arm) -> dict[str, Domain]:
    """The arm's knobs that have more than one value."""
    return {
        name: domain
        for name, domain in arm.knobs.items()
        if domain.values is None or len(domain.values) > 1
    }


def importance(findings: Findings) -> Markup | None:
    """What mattered, where there were trials enough to tell."""
    if not findings.importances:
        return None
    content: list[Content] = []
    for each in findings.importances:
        if each.reason:
            content.append(element("p", f"{each.arm}: {each.reason}", class_="note"))
            continue
        ranked = sorted(each.shares.items(), key=lambda row: -row[1])
        rows = [
            Row([Cell(name.replace("_", " ")), number(share, ".0%"), Cell(share_cell(share))])
            for name, share in ranked
        ]
        caption = f"{each.arm}, from {counted(each.trials, 'trial')}"
        content.append(table(["knob", "share", ""], rows, caption=caption))
    return element(
        "section",
        element("h2", "What mattered"),
        element(
            "p",
            "How much each knob decides whether a trial is among the best quarter of its arm "
            "(PED-ANOVA). It tells of the ranges searched, not of knobs in general.",
            class_="note",
        ),
        *content,
    )


def learning(findings: Findings) -> Markup | None:
    """The objective and the loss by epoch."""
    if not findings.curves:
        return None
    ranked = sorted(
        findings.curves, key=lambda each: -(each.trial.score(findings.objective) or -math.inf)
    )
    shown, places = ranked[:SHOWN_CURVES], places_of(findings)
    best = findings.best.run_id if findings.best else None

    def course(place: int, points: Curve) -> Course:
        trial = shown[place].trial
        says = tip(trial, trial.score(findings.objective))
        return Course(points, places.get(trial.arm, 0), says, trial.run_id == best)

    scores = [course(at, each.objective) for at, each in enumerate(shown) if each.objective]
    losses = [course(at, rows) for at, each in enumerate(shown) if (rows := _relative(each.loss))]
    says = "The best trial is drawn thick. Losses of different kinds have different units: each is "
    says += "shown as a share of its first epoch's."
    if len(shown) < len(ranked):
        says += f" The {SHOWN_CURVES} best of {len(ranked)} trials are drawn."
    return element(
        "section",
        element("h2", "How the trials learned"),
        element("p", says, class_="note"),
        arm_keys(findings),
        element(
            "figure",
            curves_chart(scores, f"{findings.objective}, validation", "Objective by epoch"),
            curves_chart(losses, "training loss, first epoch = 1", "Training loss by epoch"),
            class_="pair",
        ),
    )


def _relative(loss: Curve) -> list[tuple[int, float]]:
    if len(loss) < 2 or not math.isfinite(loss[0][1]) or loss[0][1] <= 0:
        return []
    return [(step, value / loss[0][1]) for step, value in loss]


def _of(findings: Findings, role: Role) -> list[Standing]:
    return [row for row in findings.standings if row.trial.role is role]


def _scored(findings: Findings) -> list[Standing]:
    return [row for row in _of(findings, Role.TRIAL) if row.score is not None]
