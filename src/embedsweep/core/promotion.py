"""The rule that decides who is champion, from evidence alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from embedsweep.core.report import Measure

MIN_QUERIES = 30
"""Below this many paired queries or groups no verdict is given: the test has no power."""


class Verdict(StrEnum):
    """What came of comparing a candidate with the champion."""

    PROMOTED = "promoted"
    INCONCLUSIVE = "inconclusive"
    REFUSED = "refused"


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


@dataclass(frozen=True)
class PromotionPolicy:
    """What evidence it takes to move the champion.

    Attributes:
        confidence: 1 minus the false promotion rate accepted, such as 0.95.
        min_gain: The interval's lower end must exceed this.
        guards: Largest loss allowed by measure, as a negative number or 0.
    """

    confidence: float = 0.95
    min_gain: float = 0.0
    guards: Mapping[Measure, float] = field(default_factory=dict)

    def decide(self, comparison: Comparison) -> tuple[Verdict, tuple[str, ...]]:
        """The verdict and its reasons; every rule that speaks against promotion is listed."""
        broken = [
            f"{measure} changes by {comparison.guards[measure]:+.4f}, the guard allows {least:+.4f}"
            for measure, least in self.guards.items()
            if comparison.guards[measure] < least
        ]
        if comparison.units < MIN_QUERIES:
            broken.append(
                f"{comparison.units} independent test examples, at least {MIN_QUERIES} are needed"
            )
        if broken:
            return Verdict.REFUSED, tuple(broken)
        alpha = 1 - self.confidence
        low, _ = comparison.interval
        doubts = []
        if comparison.p_value > alpha:
            doubts.append(f"p = {comparison.p_value:.4g}, needed at most {alpha:.4g}")
        if low <= self.min_gain:
            doubts.append(f"the interval begins at {low:+.4f}, needed above {self.min_gain:+.4f}")
        if doubts:
            return Verdict.INCONCLUSIVE, tuple(doubts)
        return Verdict.PROMOTED, (
            f"gain {comparison.gain:+.4f}, p = {comparison.p_value:.4g}, interval from {low:+.4f}",
        )


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
        trials_tried: Completed trials the candidate was the best of.
        look: How many candidates this test set has judged, this one included.
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
            comparison["interval"] = tuple(comparison["interval"])
            comparison["guards"] = {
                Measure.parse(name): change for name, change in comparison["guards"].items()
            }
            given["comparison"] = Comparison(**comparison)
        return cls(**given)
