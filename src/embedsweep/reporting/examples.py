"""What the best trial does well and badly: both splits, slices, classes, single examples."""

from __future__ import annotations

from embedsweep.core.findings import Findings, HardExample
from embedsweep.core.promotion import SLICE_ALPHA
from embedsweep.reporting.charts.spans import Pair, change_cell, row_scale, splits_chart
from embedsweep.reporting.markup import Content, Markup, element
from embedsweep.reporting.tables import Cell, Row, number, table
from embedsweep.reporting.wording import counted, probability, short, signed

SHOWN_SLICES = 40
SHOWN_CLASSES = 20


def splits(findings: Findings) -> Markup | None:
    """Validation against test, and what part of the winner's lead is luck."""
    if not findings.splits and findings.optimism is None:
        return None
    figure = None
    if findings.splits:
        pairs = [Pair(each.name, each.valid, each.test) for each in findings.splits]
        chart = splits_chart(pairs, findings.optimism, str(findings.objective))
        figure = element("figure", chart, class_="wide")
    return element(
        "section",
        element("h2", "Validation against test"),
        *(element("p", says) for says in _splits_in_words(findings)),
        figure,
    )


def _splits_in_words(findings: Findings) -> list[str]:
    says = []
    if findings.optimism is not None:
        says.append(
            "The validation score of the winner is optimistic by up to about "
            f"{findings.optimism:.4f}: by so much the best of these trials would exceed its true "
            "value if all were equally good." + (" The shade shows it." if findings.splits else "")
        )
    if findings.splits:
        says.append(
            "A hollow point is the score on the validation split, which the search chose by; a "
            "full one is the score on the test split, which nothing was chosen on. The two splits "
            "hold different examples, so compare the models within a split."
        )
        gains = _gains(findings)
        if gains is not None:
            says.append(f"The candidate leads by {gains[0]} on validation and {gains[1]} on test.")
    return says


def _gains(findings: Findings) -> tuple[str, str] | None:
    if len(findings.splits) < 2:
        return None
    ours, theirs = findings.splits[:2]
    if None in (ours.valid, theirs.valid, ours.test, theirs.test):
        return None
    on_valid = (ours.valid or 0.0) - (theirs.valid or 0.0)
    on_test = (ours.test or 0.0) - (theirs.test or 0.0)
    return signed(on_valid), signed(on_test)


def slices(findings: Findings) -> Markup | None:
    """What the best trial changes in each slice of the validation split."""
    if not findings.slices:
        return None
    changes = list(findings.slices)
    shown = changes
    if len(changes) > SHOWN_SLICES:
        half = SHOWN_SLICES // 2
        shown = changes[:half] + changes[-half:]
    scale = row_scale([0.0, *(each.gain for each in shown)])
    rows = [
        Row(
            [
                Cell(short(each.name, 80), "text"),
                number(float(each.n), ".0f"),
                number(each.rival),
                number(each.candidate),
                number(each.gain, "+.4f"),
                Cell(change_cell(scale, each.gain)),
                Cell(probability(each.p_worse), "num", each.p_worse),
            ]
        )
        for each in shown
    ]
    worse = sum(each.gain < 0 and each.p_worse <= SLICE_ALPHA for each in changes)
    says = (
        f"{findings.objective} of the best trial against the untuned model, on the validation "
        f"split, the greatest loss first. Of {counted(len(changes), 'slice')} {worse or 'none'} "
        f"{'is' if worse < 2 else 'are'} worse beyond chance (one-sided, corrected by Holm's "
        "method)."
    )
    if len(shown) < len(changes):
        says += f" Shown are the {SHOWN_SLICES} that change most for the worse and the better."
    head = ["slice", "n", "untuned", "best", "change", "", "p worse"]
    return element(
        "section",
        element("h2", "By slice"),
        element("p", says, class_="note"),
        table(head, rows, sortable=True),
    )


def classes(findings: Findings) -> Markup | None:
    """How well each class is told from the best trial's vectors, the worst first."""
    if not findings.per_class:
        return None
    ranked = sorted(findings.per_class.items(), key=lambda row: (row[1].get("f1", 0.0), row[0]))
    rows = [
        Row(
            [
                Cell(short(name, 80), "text"),
                number(each.get("precision"), ".3f"),
                number(each.get("recall"), ".3f"),
                number(each.get("f1"), ".3f"),
                number(each.get("support"), ".0f"),
            ]
        )
        for name, each in ranked[:SHOWN_CLASSES]
    ]
    says = "A logistic-regression probe on the best trial's vectors, the hardest class first."
    if len(ranked) > SHOWN_CLASSES:
        says += f" Shown are {SHOWN_CLASSES} of {len(ranked)} classes."
    return element(
        "section",
        element("h2", "By class"),
        element("p", says, class_="note"),
        table(["class", "precision", "recall", "F1", "examples"], rows, sortable=True),
    )


def hardest(findings: Findings) -> Markup | None:
    """The best trial's worst validation examples with their texts."""
    if not findings.hard:
        return None
    with_rival = any(each.rival is not None for each in findings.hard)
    head = ["best", *(["untuned"] if with_rival else []), "asked", "expected"]
    rows = [_hard_row(each, with_rival=with_rival) for each in findings.hard]
    return element(
        "section",
        element("h2", "The hardest examples"),
        element(
            "p",
            f"Where the best trial's {findings.objective} is lowest on the validation split. The "
            "test split's texts are never shown: who reads them can no longer judge by them.",
            class_="note",
        ),
        table(head, rows),
    )


def _hard_row(each: HardExample, *, with_rival: bool) -> Row:
    expected: list[Content] = [element("div", short(says, 280)) for says in each.expected]
    return Row(
        [
            number(each.score, ".3f"),
            *([number(each.rival, ".3f")] if with_rival else []),
            Cell(short(each.text, 240), "text"),
            Cell(element("div", *expected), "words"),
        ]
    )
