"""Losses in headline metrics: their record, and what a guard allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from embedsweep.core.report import Measure

LOSS_ALPHA = 0.05
"""A headline metric is significantly worse if its corrected one-sided p-value is at most this."""

Guard = float | Literal["off"]
"""Guard of one metric: the largest loss allowed, as a negative number or 0, or `OFF`."""

OFF: Final = "off"
"""Any loss is allowed."""


def allowed(guard: Guard, gain: float) -> bool:
    """Return whether the guard allows this change of its metric."""
    return guard == OFF or gain >= guard


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """Change of one headline metric on the test split, from the champion to the candidate.

    Attributes:
        measure: The metric; never the objective.
        candidate, champion: Means of the two models.
        interval: Bootstrap interval of the gain at the confidence of the comparison.
        n: Number of paired examples.
        units: Number of independent examples: `n`, or the number of groups.
        p_worse: One-sided sign-flip p-value of "the candidate is not worse", corrected over all
            tested headline metrics by Holm's method; `None` if there are too few units to test.
        guard: The experiment's guard for this metric when it was compared: `OFF`, the largest
            loss allowed, or `None` for the default, the test.
    """

    measure: Measure
    candidate: float
    champion: float
    interval: tuple[float, float]
    n: int
    units: int
    p_worse: float | None
    guard: Guard | None = None

    @property
    def gain(self) -> float:
        return self.candidate - self.champion

    @property
    def worse(self) -> bool:
        """Whether the candidate is significantly worse at level `LOSS_ALPHA`."""
        return self.p_worse is not None and self.p_worse <= LOSS_ALPHA

    @property
    def refuses(self) -> bool:
        """Whether the loss rejects the candidate under `guard`."""
        if self.guard is None:
            return self.worse
        return not allowed(self.guard, self.gain)

    @property
    def remark(self) -> str:
        """A clause on the verdict; empty for a metric without a significant loss or a guard."""
        worse = ", significantly worse" if self.worse else ""
        if self.guard is None:
            return worse
        return f"{worse}, guard {self.guard if self.guard == OFF else f'{self.guard:+.4g}'}"

    def in_words(self, confidence: float) -> str:
        """Return the reason to reject the candidate, with the guard that allows the loss.

        Args:
            confidence: Confidence of `interval`.
        """
        low, high = self.interval
        return (
            f"{self.measure} is significantly worse: {self.candidate:.4f}, champion "
            f"{self.champion:.4f} ({self.gain:+.4f}, {confidence:.0%} interval {low:+.4f} to "
            f"{high:+.4f}, p = {self.p_worse:.4g}); 'guards: {{{self.measure}: off}}' allows it"
        )

    def metrics(self) -> dict[str, float]:
        """Return the gain and, if it was tested, the p-value under their MLflow names."""
        found = {self.measure.key("difference"): self.gain}
        return (
            found if self.p_worse is None else found | {self.measure.key("p_worse"): self.p_worse}
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the row that ``promote --json`` prints."""
        return {
            "metric": str(self.measure),
            "candidate": self.candidate,
            "champion": self.champion,
            "gain": self.gain,
            "interval": list(self.interval),
            "n": self.n,
            "units": self.units,
            "p_worse": self.p_worse,
            "worse": self.worse,
            "guard": self.guard,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetricDifference:
        """Return the inverse of `as_dict`."""
        return cls(
            measure=Measure.parse(values["metric"]),
            candidate=values["candidate"],
            champion=values["champion"],
            interval=(values["interval"][0], values["interval"][1]),
            n=values["n"],
            units=values["units"],
            p_worse=values["p_worse"],
            guard=values["guard"],
        )
