"""What a sweep found, gathered as plain values for whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embedsweep.core.finalists import Finalist
from embedsweep.core.promotion import Decision, SliceChange
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm
from embedsweep.core.trial import Trial

Curve = Sequence[tuple[int, float]]
"""Values by step, in order of step."""


@dataclass(frozen=True)
class Standing:
    """A trial's place on the leaderboard.

    Attributes:
        trial: The trial.
        score: Its objective on the validation split; None unless it completed.
        interval: Where the score would lie on other examples of the same kind; None if unknown.
        mark: What the tests say of it beside the others, in a word or a few; may be empty.
    """

    trial: Trial
    score: float | None
    interval: tuple[float, float] | None = None
    mark: str = ""


@dataclass(frozen=True)
class SplitScores:
    """A model's objective on both splits; None where it is not known.

    Attributes:
        name: Who it is, for people.
        valid, test: The scores.
    """

    name: str
    valid: float | None
    test: float | None


@dataclass(frozen=True)
class Importance:
    """How much each knob of an arm decides about its trials.

    Attributes:
        arm: The arm.
        trials: How many of its trials were looked at.
        shares: Share by knob, at least 0 and 1 in all; empty where `reason` says why.
        reason: Why there are none.
    """

    arm: str
    trials: int
    shares: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class LearningCurve:
    """How one trial learned: its objective on the validation split and its loss, by epoch."""

    trial: Trial
    objective: Curve
    loss: Curve


@dataclass(frozen=True)
class HardExample:
    """A validation example the best trial does badly.

    Attributes:
        name: Its id.
        text: What was asked.
        expected: What would have been right: passages, a class, a score.
        score: The best trial's.
        rival: The untuned model's; None if it has none.
    """

    name: str
    text: str
    expected: tuple[str, ...]
    score: float
    rival: float | None = None


@dataclass(frozen=True)
class Findings:
    """A sweep in whole.

    Attributes:
        experiment: Its name.
        data: The data set's name.
        objective: What the sweep maximises.
        standings: All trials, baselines and finalists among them, the best first.
        best: What was chosen on validation: the candidate for promotion; None if none completed.
        untuned: The untuned model it is measured against; None if there is none.
        passed_over: The trial that would be `best` without a significant loss in another metric;
            `None` if it is.
        arms: What could be tried.
        decision: The promotion of this sweep's candidate; None if there was none.
        outdated: What the registry has instead of what `decision` says, as a clause; empty if the
            decision describes it.
        min_gain: What the interval of the gain must exceed for promotion.
        splits: The candidate and its rival on both splits; empty without a promotion.
        optimism: By how much the winner's validation score is too high for having been picked;
            None if unknown.
        marks: What the marks of `standings` mean, as a sentence; empty without marks.
        finalists: The best recipes on further seeds, the best mean first.
        importances: By arm, in the order of `arms`.
        curves: Of the trials that told of epochs.
        slices: What the best trial changes against `untuned` on the validation split.
        per_class: The best trial's precision, recall, f1 and support by class.
        hard: The best trial's worst examples on the validation split, the worst first.
        facts: What else is to be known, by name, in order.
    """

    experiment: str
    data: str
    objective: Measure
    standings: Sequence[Standing]
    best: Trial | None = None
    untuned: Trial | None = None
    passed_over: Trial | None = None
    arms: Sequence[Arm] = ()
    decision: Decision | None = None
    outdated: str = ""
    min_gain: float = 0.0
    splits: Sequence[SplitScores] = ()
    optimism: float | None = None
    marks: str = ""
    finalists: Sequence[Finalist] = ()
    importances: Sequence[Importance] = ()
    curves: Sequence[LearningCurve] = ()
    slices: Sequence[SliceChange] = ()
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    hard: Sequence[HardExample] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
