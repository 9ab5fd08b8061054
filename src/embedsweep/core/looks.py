"""Looks at a sealed test split: each is written down before it, and each spends evidence.

A test split shows a false winner with the probability alpha each time a candidate is judged on it.
So alpha is declared once for the whole split and spent look by look; when it is spent, the split
can tell nothing more. Dwork et al., "The reusable holdout", Science 349, 2015.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from embedsweep.core.errors import Refusal

SKETCH_SIZE = 64
SAME_FROM = 0.5
"""Test sets that share at least so much of their examples are one, whatever else was changed."""

ROUNDING = 1e-12


class Spending(StrEnum):
    """How alpha is parted among the looks: each half of the one before, or all alike."""

    HALVING = "halving"
    EVEN = "even"


@dataclass(frozen=True)
class AlphaPlan:
    """How much false promotion a test split may give rise to, over all looks at it.

    Attributes:
        total: Probability that any of the looks promotes a candidate that is not better.
        looks: How many candidates the split may judge.
        spending: How the total is parted among them.
    """

    total: float = 0.05
    looks: int = 5
    spending: Spending = Spending.HALVING

    def level(self, look: int) -> float:
        """What the p-value of a look (from 1) must not exceed; the levels sum to at most total."""
        return self.total / (2**look if self.spending is Spending.HALVING else self.looks)


@dataclass(frozen=True)
class Look:
    """One opening of a test split for one candidate, recorded before it is opened.

    Attributes:
        model: Name in the registry.
        benchmark: Digest of the test split.
        sketch: Of the test split's examples, by `sketch_of`.
        number: Counts from 1 over all looks at this test split, under whatever name.
        alpha: What this look spends.
        total: What may be spent on this test split in all, as declared at its first look.
        candidate_fingerprint: The candidate.
        candidate_run: Its MLflow run.
        at: When, ISO 8601 in UTC.
        by: User and host.
    """

    model: str
    benchmark: str
    sketch: tuple[str, ...]
    number: int
    alpha: float
    total: float
    candidate_fingerprint: str
    candidate_run: str
    at: str
    by: str

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values; the inverse of `from_dict`."""
        return {**asdict(self), "sketch": list(self.sketch)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Look:
        return cls(**{**values, "sketch": tuple(values["sketch"])})


@dataclass(frozen=True)
class LookRequest:
    """What wants to be judged, and on what.

    Attributes as of `Look`; `plan` is what the experiment declares.
    """

    model: str
    benchmark: str
    sketch: tuple[str, ...]
    candidate_fingerprint: str
    candidate_run: str
    at: str
    by: str
    plan: AlphaPlan


def next_look(request: LookRequest, recorded: Sequence[Look]) -> Look:
    """The look that the request may have.

    A candidate whose look was opened and never decided, because the process died, gets that look
    again: the same candidate on the same data gives the same result, so nothing more is spent.

    Args:
        request: The candidate and the test split.
        recorded: All looks of the registry, under any name, in any order.

    Raises:
        Refusal: Alpha is spent, or was declared otherwise at the first look.
    """
    looks = sorted((look for look in recorded if _same_test(look, request)), key=_number)
    for look in looks:
        mine = (look.model, look.candidate_fingerprint, look.benchmark)
        if mine == (request.model, request.candidate_fingerprint, request.benchmark):
            return look
    plan, number = request.plan, len(looks) + 1
    if looks and abs(looks[0].total - plan.total) > ROUNDING:
        raise _refusal(
            f"confidence {1 - plan.total:g}",
            f"it was {1 - looks[0].total:g} when this test split was first opened, and what may "
            "be spent on a split is declared once",
            f"write 'confidence: {1 - looks[0].total:g}' under promotion, or give a new test set",
        )
    spent, alpha = sum(look.alpha for look in looks), plan.level(number)
    if number > plan.looks or spent + alpha > plan.total + ROUNDING:
        raise _refusal(
            "another look",
            f"{len(looks)} candidates were judged on this test split and {spent:.4g} of "
            f"{plan.total:g} is spent: one more could win by chance",
            "give a new test set, of examples that no candidate was judged on",
        )
    return Look(
        model=request.model,
        benchmark=request.benchmark,
        sketch=request.sketch,
        number=number,
        alpha=alpha,
        total=plan.total,
        candidate_fingerprint=request.candidate_fingerprint,
        candidate_run=request.candidate_run,
        at=request.at,
        by=request.by,
    )


def sketch_of(examples: Iterable[str]) -> tuple[str, ...]:
    """The `SKETCH_SIZE` least hashes of the distinct examples, ascending: a bottom-k sketch.

    Cohen and Kaplan, "Summarizing data using bottom-k sketches", PODC 2007.
    """
    hashes = {hashlib.sha256(example.encode()).hexdigest()[:16] for example in examples}
    return tuple(sorted(hashes)[:SKETCH_SIZE])


def overlap(left: Sequence[str], right: Sequence[str]) -> float:
    """Estimated Jaccard index of two sets from their sketches, 0 to 1.

    The least hashes of the union are a random sample of it; the share of them that both sets
    have is the estimate.
    """
    union = sorted({*left, *right})[:SKETCH_SIZE]
    both = {*left} & {*right}
    return sum(each in both for each in union) / len(union) if union else 0.0


def _same_test(look: Look, request: LookRequest) -> bool:
    same = look.benchmark == request.benchmark
    return same or overlap(look.sketch, request.sketch) >= SAME_FROM


def _number(look: Look) -> int:
    return look.number


def _refusal(what: str, why: str, fix: str) -> Refusal:
    return Refusal(what, "the record of looks at the test split", why, fix)
