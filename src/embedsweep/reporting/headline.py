"""The top of a page: what was asked, what came of it, and on what evidence."""

from __future__ import annotations

from statistics import fmean

from embedsweep.core.findings import Findings
from embedsweep.core.losses import LOSS_ALPHA
from embedsweep.core.promotion import Comparison, Decision, Verdict
from embedsweep.core.trial import Role
from embedsweep.reporting.charts.spans import gain_chart
from embedsweep.reporting.markup import Content, Markup, element, joined
from embedsweep.reporting.tables import Cell, Row, number, table, terms
from embedsweep.reporting.wording import (
    counted,
    described,
    duration,
    named,
    probability,
    signed,
    span,
)


def headline(findings: Findings) -> Markup:
    """Title, the result in one sentence, and the few figures that matter."""
    return element(
        "header",
        element("p", f"Sweep report · {findings.objective} on {findings.data}", class_="over"),
        element("h1", findings.experiment),
        element("p", _lead(findings), class_="lead"),
        terms(_figures(findings), "figures"),
    )


def _lead(findings: Findings) -> str:
    if findings.best is None:
        return "No trial completed, so there is nothing to choose between. The table says why."
    tried = sum(row.trial.role is Role.TRIAL for row in findings.standings)
    score = findings.best.score(findings.objective) or 0.0
    says = (
        f"Of {counted(tried, 'trial')} {_chosen(findings)} is {named(findings.best)} at "
        f"{score:.4f} ({described(findings.best)})."
    )
    if findings.passed_over is not None:
        # It comes first, so that the verdict follows the sentence on the candidate.
        says = (
            f"{named(findings.passed_over).capitalize()} is passed over, because it is "
            f"significantly worse than the untuned model in another metric. {says}"
        )
    if findings.decision is None:
        return f"{says} It has not been judged on the test split."
    outdated = findings.outdated
    now = f" This no longer describes the registry: {outdated}." if outdated else ""
    return f"{says} {_verdict(findings.decision)}{now}"


def _chosen(findings: Findings) -> str:
    return "the best on validation" if findings.passed_over is None else "the candidate"


def _verdict(decision: Decision) -> str:
    found = decision.comparison
    if found is None:
        return f"On the test split it was {decision.verdict.value}."
    scored = (
        f"On the test split it scores {found.candidate:.4f} against {found.rival:.4f} of the "
        f"champion before it ({signed(found.gain)}, {found.n} examples)"
    )
    match decision.verdict:
        case Verdict.PROMOTED:
            # The page is kept as it is, so it says only what stays true after a rollback.
            return f"{scored} and was made champion, as version {decision.version}."
        case Verdict.INCONCLUSIVE:
            return f"{scored}, which is not evidence enough to promote it."
        case Verdict.REFUSED:
            return f"{scored} and is refused."


def _figures(findings: Findings) -> list[tuple[str, Content]]:
    trials = [row.trial for row in findings.standings]
    drawn = [trial for trial in trials if trial.role is Role.TRIAL]
    figures: list[tuple[str, Content]] = []
    if findings.best is not None:
        score = findings.best.score(findings.objective) or 0.0
        figures.append((f"validation {findings.objective}", _figure(f"{score:.4f}")))
        if findings.untuned is not None:
            untuned = findings.untuned.score(findings.objective) or 0.0
            figures.append(
                ("over untuned", _figure(signed(score - untuned), f"from {untuned:.4f}"))
            )
    if findings.decision is not None:
        figures.append(("verdict on test", _verdict_figure(findings.decision)))
    figures.append(("trials", _figure(str(len(drawn)), _states(findings))))
    seconds = sum(trial.seconds for trial in trials)
    figures.append(("time", _figure(duration(seconds), _pace(findings))))
    return figures


def _verdict_figure(decision: Decision) -> Markup:
    found = decision.comparison
    below = None if found is None else f"{signed(found.gain)}, p = {probability(found.p_value)}"
    word = element("span", decision.verdict.value, class_=decision.verdict.value)
    return joined(word, _small(below))


def _figure(says: str, below: str | None = None) -> Markup:
    return joined(says, _small(below))


def _small(says: str | None) -> Markup | None:
    return None if says is None else element("small", says)


def _states(findings: Findings) -> str | None:
    """How many did not complete."""
    drawn = [row.trial for row in findings.standings if row.trial.role is Role.TRIAL]
    counts = {
        state: sum(trial.state == state for trial in drawn)
        for state in ("completed", "pruned", "failed")
    }
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or None


def _pace(findings: Findings) -> str | None:
    run = [
        row.trial.seconds
        for row in findings.standings
        if row.trial.role is Role.TRIAL and row.trial.reused_from is None
    ]
    return f"{duration(fmean(run))} a trial" if run else None


def promotion(findings: Findings) -> Markup | None:
    """The evidence of the promotion; None where there was none."""
    decision = findings.decision
    if decision is None:
        return None
    content: list[Content] = [element("h2", "The verdict")]
    if (found := decision.comparison) is not None:
        chart = gain_chart(found.gain, found.interval, findings.min_gain, str(found.measure))
        content += [element("figure", chart, class_="wide"), terms(_evidence(decision), "evidence")]
        content.append(_differences(found))
    reasons = (element("li", reason, class_="text") for reason in decision.reasons)
    content.append(element("ul", *reasons, class_="reasons"))
    return element("section", *content)


def _evidence(decision: Decision) -> list[tuple[str, Content]]:
    found = decision.comparison
    if found is None:
        return []
    rows: list[tuple[str, Content]] = [
        ("candidate", f"{found.candidate:.4f}"),
        ("champion before", f"{found.rival:.4f}"),
        ("gain", signed(found.gain)),
        (f"{found.confidence:.0%} interval", span(*found.interval)),
        ("p, one-sided", f"{probability(found.p_value)} (≤ {decision.alpha:.4g})"),
        ("test examples", _units(found)),
        ("better, equal, worse", f"{found.wins}, {found.ties}, {found.losses}"),
        ("detectable gain", f"{found.smallest_detectable:.4f}"),
        ("chosen among", counted(decision.trials_tried, "trial")),
        ("look at the split", f"{decision.look}, spends {decision.alpha:.4g}"),
    ]
    rows += [(f"change in {guard}", signed(change)) for guard, change in found.guards.items()]
    if found.latencies is not None:
        ours, theirs = (1000 * each for each in found.latencies)
        rows.append(("time of a query", f"{ours:.1f} ms, champion {theirs:.1f} ms"))
    return rows


def _differences(found: Comparison) -> Markup | None:
    """Return the changes of the other headline metrics; `None` if none were compared."""
    if not found.differences:
        return None
    rows = [
        Row(
            [
                Cell(f"{each.measure}"),
                number(each.candidate),
                number(each.champion),
                Cell(signed(each.gain), "num"),
                Cell(span(*each.interval), "num"),
                Cell("–" if each.p_worse is None else probability(each.p_worse), "num"),
                Cell(each.remark.removeprefix(", "), "words"),
            ]
        )
        for each in found.differences
    ]
    says = (
        "Other headline metrics on the test split. p: one-sided test of a loss, corrected for the "
        f"number of metrics; significant up to {LOSS_ALPHA}."
    )
    interval = f"{found.confidence:.0%} interval"
    head = ["metric", "candidate", "champion before", "gain", interval, "p", ""]
    return table(head, rows, caption=says)


def _units(found: Comparison) -> str:
    same = found.units == found.n
    return f"{found.n}" if same else f"{found.n} in {counted(found.units, 'group')}"
