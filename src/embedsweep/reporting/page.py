"""A sweep's page: one HTML file that needs nothing else."""

from __future__ import annotations

from embedsweep.core.findings import Findings
from embedsweep.reporting.examples import classes, hardest, slices, splits
from embedsweep.reporting.headline import headline, promotion
from embedsweep.reporting.markup import Markup, element, text
from embedsweep.reporting.search import history, importance, knobs, learning
from embedsweep.reporting.standings import leaderboard
from embedsweep.reporting.style import SCRIPT, STYLE
from embedsweep.reporting.tables import terms

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""The page may load nothing, whatever a text on it tries."""


def sweep_page(findings: Findings) -> str:
    """The page as HTML; it holds all it needs and loads nothing."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{findings.experiment}: sweep report"),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        element(
            "main",
            headline(findings),
            promotion(findings),
            leaderboard(findings),
            splits(findings),
            history(findings),
            knobs(findings),
            importance(findings),
            learning(findings),
            slices(findings),
            classes(findings),
            hardest(findings),
            _facts(findings),
        ),
        element("script", Markup(SCRIPT)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _facts(findings: Findings) -> Markup | None:
    if not findings.facts:
        return None
    rows = [(name, text(value)) for name, value in findings.facts.items()]
    return element("section", element("h2", "Facts"), terms(rows, "evidence long"))
