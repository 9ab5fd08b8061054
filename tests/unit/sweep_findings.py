"""What a sweep might have found, made up, for the tests of its page."""

from __future__ import annotations

import math
from dataclasses import replace

from embedsweep.core.findings import (
    Findings,
    HardExample,
    Importance,
    LearningCurve,
    SplitScores,
    Standing,
)
from embedsweep.core.losses import OFF, MetricDifference
from embedsweep.core.promotion import Comparison, Decision, SliceChange, Verdict
from embedsweep.core.recipe import AdapterRecipe, BaselineRecipe, Head, LocalRecipe, Loss
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Integers, Uniform
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Role, Trial

NDCG = Measure("ndcg", 10)
KEY = NDCG.key("valid")
ARMS = (
    Arm(
        "local",
        "local",
        {
            "base_model": Choice(("mini",)),
            "loss": Choice(("cosent", "triplet")),
            "epochs": Integers(1, 4),
            "learning_rate": Uniform(1e-5, 1e-3, log=True),
            "margin": Uniform(0.1, 0.5),
            "batch_size": Choice((16,)),
        },
    ),
    Arm(
        "adapter",
        "adapter",
        {
            "base_model": Choice(("mini",)),
            "head": Choice(("linear", "mlp")),
            "width": Integers(8, 64, log=True),
            "loss": Choice(("cosent",)),
            "epochs": Integers(5, 20),
            "learning_rate": Uniform(1e-4, 1e-2, log=True),
            "batch_size": Choice((32,)),
        },
    ),
)


def local(number: int) -> LocalRecipe:
    return LocalRecipe(
        base_model="mini",
        loss=Loss.TRIPLET if number % 4 else Loss.COSENT,
        epochs=1 + number % 4,
        learning_rate=10 ** (-5 + 2 * (number * 0.37 % 1)),
        batch_size=16,
        seed=7,
        margin=0.1 + 0.4 * (number * 0.61 % 1) if number % 4 else None,
    )


def adapter(number: int) -> AdapterRecipe:
    wide = number % 3 > 0
    return AdapterRecipe(
        base_model="mini",
        head=Head.MLP if wide else Head.LINEAR,
        width=8 + number % 50 if wide else None,
        loss=Loss.COSENT,
        epochs=5 + number % 15,
        learning_rate=10 ** (-4 + 2 * (number * 0.29 % 1)),
        batch_size=32,
        seed=7,
    )


def trial(number: int, score: float | None = None, outcome: Outcome | None = None) -> Trial:
    """A trial of the arm its number falls to, with a score unless it failed."""
    arm = ARMS[number % 2].name
    recipe = local(number) if arm == "local" else adapter(number)
    reached = 0.6 + 0.1 * math.sin(number) if score is None else score
    ended = outcome or Completed()
    return Trial(
        number=number,
        role=Role.TRIAL,
        arm=arm,
        recipe=recipe,
        fingerprint=f"{number:064d}",
        outcome=ended,
        metrics={} if isinstance(ended, Failed) else {KEY: reached},
        seconds=30.0 + number,
        run_id=f"run-{number}",
        model_reference="models:/m-1" if isinstance(ended, Completed) else None,
    )


def baseline(score: float = 0.55, method: str = "untuned", number: int = 0) -> Trial:
    base = "mini" if method == "untuned" else None
    return Trial(
        number=number,
        role=Role.BASELINE,
        arm="baseline",
        recipe=BaselineRecipe(method=method, base_model=base),
        fingerprint=method,
        outcome=Completed(),
        metrics={KEY: score},
        seconds=4.0,
        run_id=f"run-{method}",
        model_reference="models:/m-0",
    )


def standing(each: Trial) -> Standing:
    score = each.score(NDCG)
    return Standing(each, score, None if score is None else (score - 0.02, score + 0.02), "≈")


def decision(verdict: Verdict = Verdict.PROMOTED) -> Decision:
    comparison = Comparison(
        measure=NDCG,
        candidate=0.66,
        rival=0.60,
        gain=0.06,
        interval=(0.021, 0.098),
        p_value=0.0007,
        n=412,
        units=301,
        wins=120,
        ties=250,
        losses=42,
        smallest_detectable=0.031,
        guards={Measure("accuracy"): -0.004},
        differences=(
            MetricDifference(Measure("mrr", 10), 0.51, 0.7, (-0.24, -0.14), 412, 301, 0.0002, OFF),
            MetricDifference(Measure("accuracy"), 0.806, 0.81, (-0.02, 0.01), 412, 301, 0.6, -0.01),
            MetricDifference(Measure("spearman"), 0.7, 0.6, (0.0, 0.2), 20, 20, None),
        ),
        latencies=(0.004, 0.005),
        optimism=0.017,
    )
    return Decision(
        verdict=verdict,
        model="support",
        version=2,
        previous_version=1,
        champion_version=2,
        comparison=comparison,
        trials_tried=13,
        look=1,
        alpha=0.025,
        reasons=("gain +0.0600, as was needed",),
        candidate_run="run-1",
        rival_run="run-untuned",
        candidate_fingerprint="c",
        rival_fingerprint="d",
        benchmark="e",
        at="2026-01-01T00:00:00+00:00",
        by="tester",
    )


def sweep_findings(trials: int = 12, examples: int = 12) -> Findings:
    """A sweep in which all happened that can happen."""
    drawn = [trial(number) for number in range(trials)]
    if trials > 4:
        drawn[3] = trial(3, outcome=Failed("collapsed", "all vectors are equal"))
        drawn[4] = trial(4, 0.52, Pruned(2))
    scored = [each for each in drawn if each.score(NDCG) is not None]
    best = max(scored, key=lambda each: each.score(NDCG) or 0.0)
    untuned = baseline()
    rows = sorted([*drawn, untuned, baseline(0.2, "bm25", 1)], key=lambda e: -(e.score(NDCG) or 0))
    text = "how do I close an account that I never opened? " * 4
    return Findings(
        experiment="support-search",
        data="support",
        objective=NDCG,
        standings=[standing(each) for each in rows],
        best=best,
        untuned=untuned,
        arms=ARMS,
        decision=decision(),
        splits=[SplitScores("candidate, v2", 0.69, 0.66), SplitScores("champion, v1", 0.55, 0.60)],
        optimism=0.017,
        marks="≈ cannot be told from the best.",
        importances=[
            Importance("local", 30, {"learning_rate": 0.7, "loss": 0.2, "epochs": 0.1}),
            Importance("adapter", 6, reason="6 completed trials; at least 20 are needed to tell."),
        ],
        curves=[
            LearningCurve(
                each,
                [(epoch, 0.5 + 0.05 * epoch) for epoch in range(1, 4)],
                [(epoch, 2.0 / epoch) for epoch in range(1, 4)],
            )
            for each in scored
        ],
        slices=[
            SliceChange("billing", 40, 0.50, 0.62, 0.004),
            SliceChange("accounts", 60, 0.70, 0.60, 1.0),
        ],
        per_class={"refund": {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8.0}},
        hard=[
            HardExample(f"q{number}", text, (f"passage {number} " * 60,), 0.0, 0.4)
            for number in range(examples)
        ],
        facts={"train split": "100 rows, SHA-256 0123456789abcdef…", "made with": "embedsweep"},
    )


def bare_findings(*trials: Trial) -> Findings:
    """A sweep of which nothing is known but its trials."""
    scored = [each for each in trials if each.role is Role.TRIAL and each.score(NDCG) is not None]
    best = max(scored, key=lambda each: each.score(NDCG) or 0.0, default=None)
    return replace(
        Findings("bare", "data", NDCG, [standing(each) for each in trials]), best=best, arms=ARMS
    )
