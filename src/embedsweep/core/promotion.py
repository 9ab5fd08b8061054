"""The rule that decides who is champion, from evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from embedsweep.core.looks import AlphaPlan, Spending
from embedsweep.core.losses import OFF, Guard, MetricDifference, allowed
from embedsweep.core.report import Measure

MIN_QUERIES = 30
"""Below this many paired queries or groups no verdict is given: the test has no power."""

SLICE_ALPHA = 0.05
"""A slice has got worse, and not by chance, where its corrected p-value is at most this."""

SHOWN_SLICES = 3

PENDING = "pending"
"""Alias of the version that becomes champion, from before its decision is recorded until it is."""


class Verdict(StrEnum):
    """What came of comparing a candidate with the champion."""

    PROMOTED = "promoted"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SliceChange:
    """What the candidate changes for the examples of one slice.

    Attributes:
        name: The slice.
        n: Its examples.
        candidate, rival: Their means in it.
        p_worse: One-sided sign-flip test of "the candidate is not worse here", corrected over all
            slices by Holm's method.
    """

    name: str
    n: int
    candidate: float
    rival: float
    p_worse: float

    @property
    def gain(self) -> float:
        return self.candidate - self.rival


@dataclass(frozen=True)
class Comparison:
    """Candidate and rival on the same test queries, paired.

    Attributes:
        measure: What was compared.
        candidate, rival: Their means.
        gain: Mean of the paired differences, candidate minus rival.
        interval: Bootstrap interval of the gain at the policy's confidence.
        p_value: One-sided sign-flip permutation test of "the candidate is not better".
        n: Paired queries or examples.
        units: What was flipped and resampled: equal to `n`, or the number of groups.
        wins, ties, losses: Queries on which the candidate is better, equal, worse.
        smallest_detectable: The gain this test set would find in 80 % of tries.
        confidence: Of the interval.
        guards: Change by guarded measure, candidate minus rival.
        differences: Changes of the other headline metrics; empty in records of versions that did
            not compare them.
        dimensions: Lengths of the candidate's and the rival's vectors; None where the rival never
            was in use.
        latencies: Median seconds to embed one query, candidate and rival; None if not measured.
        optimism: By how much the best of so many trials, were all equally good, would exceed its
            true value on the validation split; None if unknown.
    """

    measure: Measure
    candidate: float
    rival: float
    gain: float
    interval: tuple[float, float]
    p_value: float
    n: int
    units: int
    wins: int
    ties: int
    losses: int
    smallest_detectable: float
    confidence: float = 0.95
    guards: Mapping[Measure, float] = field(default_factory=dict)
    differences: tuple[MetricDifference, ...] = ()
    dimensions: tuple[int, int] | None = None
    latencies: tuple[float, float] | None = None
    optimism: float | None = None

    def metrics(self) -> dict[str, float]:
        """Return the results of the tests under their MLflow names."""
        found = {"gain": self.gain, "p_value": self.p_value}
        for each in self.differences:
            found |= each.metrics()
        return found


@dataclass(frozen=True)
class PromotionPolicy:
    """What evidence it takes to move the champion.

    Attributes:
        confidence: 1 minus the false promotion rate accepted on one test split, over all looks
            at it, such as 0.95.
        min_gain: The interval's lower end must exceed this.
        guards: Largest loss allowed by measure, as a negative number or 0. For a headline metric
            it replaces the test of a significant loss.
        unguarded: Headline metrics in which any loss is allowed.
        looks: How many candidates one test split may judge.
        spending: How the false promotion rate is parted among them.
        slice_loss: Largest loss allowed to any slice, as a negative number or 0; None for any.
        max_latency: Longest time allowed to embed a query, as a multiple of the champion's; None
            for any.
        any_dimension: Whether the vectors may have another length than the champion's.
    """

    confidence: float = 0.95
    min_gain: float = 0.0
    guards: Mapping[Measure, float] = field(default_factory=dict)
    unguarded: frozenset[Measure] = frozenset()
    looks: int = 5
    spending: Spending = Spending.HALVING
    slice_loss: float | None = None
    max_latency: float | None = None
    any_dimension: bool = False

    @property
    def plan(self) -> AlphaPlan:
        """How the false promotion rate is spent over the looks."""
        # Without what binary fractions add to 1 - 0.95.
        return AlphaPlan(round(1 - self.confidence, 12), self.looks, self.spending)

    def guard(self, measure: Measure) -> Guard | None:
        """Return the guard of a metric; `None` if the experiment names none."""
        return OFF if measure in self.unguarded else self.guards.get(measure)

    def allows(self, measure: Measure, gain: float) -> bool:
        """Return whether a guard of the experiment allows a significant loss of this size."""
        guard = self.guard(measure)
        return guard is not None and allowed(guard, gain)

    def lifts(self, decision: Decision) -> bool:
        """Return whether the decision rejected a loss that this policy's guards now allow."""
        found = decision.comparison
        return (
            decision.verdict is Verdict.REFUSED
            and found is not None
            and any(
                each.refuses and not replace(each, guard=self.guard(each.measure)).refuses
                for each in found.differences
            )
        )

    def decide(
        self, comparison: Comparison, alpha: float, slices: Sequence[SliceChange] = ()
    ) -> tuple[Verdict, tuple[str, ...]]:
        """The verdict and its reasons; every rule that speaks against promotion is listed.

        Args:
            comparison: The evidence.
            alpha: What this look at the test split may spend; the p-value must not exceed it.
            slices: What changes in each slice of the test split.
        """
        broken = [
            f"{measure} changes by {comparison.guards[measure]:+.4f}, the guard allows {least:+.4f}"
            for measure, least in self.guards.items()
            if comparison.guards[measure] < least
        ]
        if comparison.units < MIN_QUERIES:
            broken.append(
                f"{comparison.units} independent test examples, at least {MIN_QUERIES} are needed"
            )
        broken += [
            *(
                each.in_words(comparison.confidence)
                for each in comparison.differences
                if each.worse and each.guard is None
            ),
            *self._worse_slices(slices),
            *self._too_slow(comparison),
            *self._other_length(comparison),
        ]
        if broken:
            return Verdict.REFUSED, tuple(broken)
        low, _ = comparison.interval
        doubts = []
        if comparison.p_value > alpha:
            doubts.append(f"p = {comparison.p_value:.4g}, needed at most {alpha:.4g}")
        if low <= self.min_gain:
            doubts.append(f"the interval begins at {low:+.4f}, needed above {self.min_gain:+.4f}")
        if doubts:
            return Verdict.INCONCLUSIVE, tuple(doubts)
        return Verdict.PROMOTED, (
            f"gain {comparison.gain:+.4f}, p = {comparison.p_value:.4g} (needed at most "
            f"{alpha:.4g}), interval from {low:+.4f}",
        )

    def _worse_slices(self, slices: Sequence[SliceChange]) -> list[str]:
        """Chance alone makes the worst of many slices look bad, so the loss must be beyond it."""
        if self.slice_loss is None:
            return []
        worse = [
            each for each in slices if each.gain < self.slice_loss and each.p_worse <= SLICE_ALPHA
        ]
        if not worse:
            return []
        worst = sorted(worse, key=lambda each: each.gain)[:SHOWN_SLICES]
        shown = ", ".join(
            f"{each.name!r} {each.gain:+.4f} (n = {each.n}, p = {each.p_worse:.2g})"
            for each in worst
        )
        return [
            f"{len(worse)} of {len(slices)} slices lose more than {self.slice_loss:+.4f} allows: "
            f"{shown}"
        ]

    def _too_slow(self, comparison: Comparison) -> list[str]:
        if self.max_latency is None or comparison.latencies is None:
            return []
        candidate, rival = comparison.latencies
        if candidate <= self.max_latency * rival:
            return []
        return [
            f"a query takes {candidate * 1000:.1f} ms, the champion {rival * 1000:.1f} ms, and "
            f"{self.max_latency:g} times as long is allowed"
        ]

    def _other_length(self, comparison: Comparison) -> list[str]:
        if self.any_dimension or comparison.dimensions is None:
            return []
        candidate, rival = comparison.dimensions
        if candidate == rival:
            return []
        return [
            f"its vectors have {candidate} dimensions, the champion's {rival}, and no index built "
            "for one holds the other; 'any_dimension: true' under promotion allows it"
        ]


@dataclass(frozen=True)
class Decision:
    """What was decided, and all that it rests on; kept in the registry whatever the verdict.

    Attributes:
        verdict: Promoted, inconclusive or refused.
        model: Name in the registry.
        version: The candidate's version; None when it was not registered.
        previous_version: The champion's version before; None if there was none.
        champion_version: The champion's version after.
        comparison: The evidence.
        trials_tried: Completed trials the candidate was the best of, baselines left out.
        look: How many candidates this test set has judged, this one included.
        alpha: What this look spent of the false promotion rate.
        reasons: Sentences.
        candidate_run, rival_run: MLflow runs the two models came from.
        candidate_fingerprint, rival_fingerprint, benchmark: What was compared, by identity.
        at: When, ISO 8601 in UTC.
        by: User and host.
        rolled_back: True for a step back, which rests on no comparison.
    """

    verdict: Verdict
    model: str
    version: int | None
    previous_version: int | None
    champion_version: int | None
    comparison: Comparison | None
    trials_tried: int
    look: int
    alpha: float
    reasons: tuple[str, ...]
    candidate_run: str
    rival_run: str
    candidate_fingerprint: str
    rival_fingerprint: str
    benchmark: str
    at: str
    by: str
    rolled_back: bool = False

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values; the inverse of `from_dict`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["verdict"] = self.verdict.value
        values["reasons"] = list(self.reasons)
        if (found := self.comparison) is not None:
            values["comparison"] = {
                **{field.name: getattr(found, field.name) for field in fields(found)},
                "measure": str(found.measure),
                "interval": list(found.interval),
                "guards": {str(measure): change for measure, change in found.guards.items()},
                "differences": [each.as_dict() for each in found.differences],
            }
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        given = dict(values)
        given["verdict"] = Verdict(given["verdict"])
        given["reasons"] = tuple(given["reasons"])
        if given["comparison"] is not None:
            comparison = dict(given["comparison"])
            comparison["measure"] = Measure.parse(comparison["measure"])
            for name in ("interval", "dimensions", "latencies"):
                if comparison[name] is not None:
                    comparison[name] = tuple(comparison[name])
            comparison["guards"] = {
                Measure.parse(name): change for name, change in comparison["guards"].items()
            }
            # Records of earlier versions have no differences.
            rows = comparison.get("differences", ())
            comparison["differences"] = tuple(map(MetricDifference.from_dict, rows))
            given["comparison"] = Comparison(**comparison)
        return cls(**given)
