"""The page of a sweep: whole whatever happened, well formed, loading nothing, and not too large."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from embedsweep.core.finalists import Finalist
from embedsweep.core.findings import HardExample
from embedsweep.core.promotion import SliceChange, Verdict
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.trial import Failed, Role
from embedsweep.reporting.markup import VOID, Markup, element, text
from embedsweep.reporting.page import POLICY, sweep_page
from tests.unit.sweep_findings import (
    bare_findings,
    baseline,
    decision,
    sweep_findings,
    trial,
)

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\ud800\x00"
LOADING = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "background"}


class Outline(HTMLParser):
    """Which elements a page has, and whether each is closed where it must be."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def prose(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def drawings(page: str) -> list[ElementTree.Element]:
    """Every drawing of a page, read as the XML it must be."""
    return [ElementTree.fromstring(each) for each in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_a_full_sweep_is_told_in_full() -> None:
    prose = Outline(sweep_page(sweep_findings())).prose
    for part in (
        "support-search",
        "ndcg@10",
        "promoted",
        "+0.0210 to +0.0980",
        "0.0007 (≤ 0.025)",
        "412 in 301 groups",
        "chosen among",
        "13 trials",
        "change in accuracy",
        "optimistic by up to about 0.0170",
        "leads by +0.1400 on validation and +0.0600 on test",
        "failed, collapsed: all vectors are equal",
        "pruned",
        "learning rate",
        "at least 20 are needed",
        "billing",
        "refund",
        "how do I close an account",
        "SHA-256 0123456789abcdef",
    ):
        assert part in prose, part


@pytest.mark.parametrize(
    "findings",
    [
        sweep_findings(),
        bare_findings(),
        bare_findings(trial(0)),
        bare_findings(trial(0, 0.0), trial(1, 0.0), baseline(0.0)),
        bare_findings(trial(0, outcome=Failed("store", "disk full")), baseline()),
        replace(sweep_findings(), decision=None, splits=()),
        replace(sweep_findings(), decision=replace(decision(), comparison=None)),
        replace(sweep_findings(), slices=(), per_class={}, hard=(), curves=(), importances=()),
        replace(sweep_findings(), arms=()),
    ],
    ids=["full", "nothing", "one", "equal", "failed", "unjudged", "unmeasured", "plain", "armless"],
)
def test_whatever_happened_the_page_is_well_formed_and_loads_nothing(findings) -> None:
    page = sweep_page(findings)
    outline = Outline(page)
    assert outline.open == []
    assert outline.attributes & LOADING == set()
    assert outline.tags.count("script") == 1
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert POLICY.startswith("default-src 'none'")
    assert f'content="{text(POLICY)}"' in page
    for drawing in drawings(page):
        marks = [value for each in drawing.iter() for value in each.attrib.values()]
        assert not any(re.search(r"\b(nan|inf)\b", value, re.I) for value in marks)


@pytest.mark.parametrize(("verdict", "says"), [
    (Verdict.PROMOTED, "was made champion, as version 2"),
    (Verdict.INCONCLUSIVE, "not evidence enough"),
    (Verdict.REFUSED, "and is refused"),
])  # fmt: skip
def test_the_verdict_is_said_in_words(verdict, says) -> None:
    assert says in sweep_page(replace(sweep_findings(), decision=decision(verdict)))


def test_the_other_headline_metrics_are_listed_with_intervals_and_guards() -> None:
    page = sweep_page(sweep_findings())
    for told in (
        "Other headline metrics on the test split",
        "mrr@10",
        "−0.2400 to −0.1400",
        "significantly worse, guard off",
        "guard -0.01",
    ):
        assert told in page, told
    decision = sweep_findings().decision
    assert decision is not None
    assert decision.comparison is not None
    before = replace(decision, comparison=replace(decision.comparison, differences=()))
    assert "Other headline metrics" not in sweep_page(replace(sweep_findings(), decision=before))


def test_without_a_promotion_or_a_score_the_page_says_so() -> None:
    assert "has not been judged on the test split" in sweep_page(bare_findings(trial(0)))
    none = bare_findings(trial(0, outcome=Failed("collapsed", "all are equal")))
    assert "No trial completed" in sweep_page(none)


def test_finalists_are_told_by_their_mean_over_further_seeds() -> None:
    first = trial(0, 0.7)
    repeats = tuple(
        replace(trial(0, score), role=Role.FINALIST, number=number, run_id=f"run-f{number}")
        for number, score in enumerate((0.6, 0.64))
    )
    found = replace(bare_findings(first, *repeats), finalists=[Finalist(first, repeats)])
    prose = Outline(sweep_page(replace(found, best=repeats[0]))).prose
    assert "0.6200" in prose
    assert "f0, f1: " in prose
    assert "finalist 0 at 0.6000" in prose


def test_every_drawing_says_what_it_shows() -> None:
    for drawing in drawings(sweep_page(sweep_findings())):
        if drawing.get("aria-hidden") != "true":
            names = [each.tag.rpartition("}")[2] for each in drawing]
            assert names[:2] == ["title", "desc"]
            assert drawing.get("role") == "img"
            assert all(each.text for each in drawing[:2])


def evil_findings():
    found = sweep_findings()
    first = found.standings[0]
    recipe = first.trial.recipe
    assert isinstance(recipe, LocalRecipe)
    broken = trial(3, outcome=Failed(EVIL, EVIL))
    return replace(
        found,
        experiment=EVIL,
        data=EVIL,
        standings=[
            *found.standings,
            replace(first, mark=EVIL, trial=replace(first.trial, arm=EVIL)),
            replace(first, trial=broken, score=None),
        ],
        arms=[replace(found.arms[0], name=EVIL), *found.arms],
        marks=EVIL,
        decision=replace(decision(), reasons=(EVIL,)),
        splits=[replace(found.splits[0], name=EVIL), found.splits[1]],
        importances=[replace(found.importances[0], arm=EVIL, shares={EVIL: 1.0})],
        slices=[SliceChange(EVIL, 3, 0.1, 0.2, 0.5)],
        per_class={EVIL: {"f1": 0.5}},
        hard=[HardExample(EVIL, EVIL, (EVIL, EVIL), 0.0)],
        facts={EVIL: EVIL},
    )


def test_what_users_wrote_is_text_and_nothing_else() -> None:
    page = sweep_page(evil_findings())
    page.encode("utf-8")
    outline = Outline(page)
    assert outline.open == []
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert not any(name.startswith("on") for name in outline.attributes)
    assert outline.prose.count("<script>alert(1)</script>") > 10
    assert "\x00" not in page
    drawings(page)


def test_the_check_for_markup_of_users_can_fail() -> None:
    careless = Markup(f"<p>{EVIL}</img></p>")
    assert {"script", "img"} <= set(Outline(careless).tags)


def test_text_is_escaped_and_markup_is_not() -> None:
    inner = element("b", "a < b & c")
    assert element("p", inner, None, title='"') == (
        '<p title="&quot;"><b>a &lt; b &amp; c</b></p>'
    )  # fmt: skip
    assert text("a\ud800b\x07c\td") == "a\ufffdb\ufffdc\td"


def test_a_large_sweep_stays_small_and_says_what_it_leaves_out() -> None:
    found = sweep_findings(trials=200)
    changes = [SliceChange(f"slice {n}", 50, 0.5 + n / 1e4, 0.5, 1.0) for n in range(500)]
    classes = {f"class {n}": {"f1": n / 300} for n in range(300)}
    found = replace(found, slices=changes, per_class=classes)
    page = sweep_page(found)
    assert len(page.encode()) < 1_000_000
    prose = Outline(page).prose
    assert "The best 60 are shown; 140 more trials" in prose
    assert "Shown are the 40 that change most" in prose
    assert "Shown are 20 of 300 classes" in prose
    assert "The 60 best of 198 trials are drawn" in prose


def test_a_long_text_is_cut() -> None:
    hard = [HardExample("q", "x" * 10_000, ("y" * 10_000,), 0.0)]
    page = sweep_page(replace(sweep_findings(), hard=hard))
    assert "x" * 200 in page
    assert "x" * 300 not in page
    assert "y" * 300 not in page
