"""A sweep recorded by hand in a ledger in memory, so that its scores are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedsweep.core.dataset import Benchmark, Dataset
from embedsweep.core.ports import OpenSweep, Sweep, TrialEnd, TrialStart
from embedsweep.core.recipe import BaselineRecipe, LocalRecipe, Loss, Recipe
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Failed, Outcome, Pruned, Role, Trial
from embedsweep.stores.memory import MemoryLedger
from embedsweep.workflows.compare import Leaderboard, leaderboard
from tests.integration.table_backend import table_dataset

MRR, MACRO_F1 = Measure("mrr", 10), Measure("macro_f1")
QUERIES = 60
UNTUNED = BaselineRecipe(method="untuned", base_model="table")
BM25 = BaselineRecipe(method="bm25")
BASE = np.random.default_rng(7).uniform(0.2, 0.7, QUERIES)
NOISE = np.random.default_rng(8).normal(0, 0.02, (10, QUERIES))


def sealed() -> Benchmark:
    raise AssertionError("comparing opened the test split")


DATASET: Dataset = replace(table_dataset(), sealed_test=sealed)


class Swept:
    """An experiment's newest sweep.

    Attributes:
        ledger: Where it is recorded.
        sweep: It.
    """

    def __init__(self, folder: Path, objective: Measure = MRR) -> None:
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        (folder / "models").mkdir()
        self.folder = folder
        self.ledger = MemoryLedger(folder / "models")
        self.objective = objective
        self.sweep = self.begin()

    def begin(self) -> OpenSweep:
        data = {split.value: digest for split, digest in DATASET.digests.items()}
        identity = {"data": data}
        name = str(self.objective)
        return self.ledger.begin(Sweep("topics", name, identity, "digest", DATASET))

    def add(
        self,
        role: Role,
        number: int,
        ended: Sequence[float] | Report | Outcome,
        recipe: Recipe | None = None,
        **end: Any,
    ) -> Trial:
        made = recipe or local(number)
        start = TrialStart(number, role, "local", made, f"{made}")
        run_id = self.ledger.start(self.sweep, DATASET, start)
        if isinstance(ended, Completed | Pruned | Failed):
            return self.ledger.finish(run_id, start, TrialEnd(ended, 1.0, **end))
        report = ended if isinstance(ended, Report) else report_of(ended)
        model = None if made == BM25 else self.folder / "model"
        done = TrialEnd(Completed(), 1.0, report=report, model=model, **end)
        return self.ledger.finish(run_id, start, done)

    def board(self) -> Leaderboard:
        return leaderboard(self.ledger, "topics")


def local(number: int) -> LocalRecipe:
    return LocalRecipe(
        base_model="table",
        loss=Loss.COSENT,
        epochs=1,
        learning_rate=1e-5 * (number + 1),
        batch_size=8,
        seed=number,
    )


def report_of(scores: Sequence[float], **changes: Any) -> Report:
    by_id = {f"q{row}": float(score) for row, score in enumerate(scores)}
    mean = float(np.mean(list(by_id.values())))
    plain = Report("b" * 64, "valid", {MRR: mean, MACRO_F1: mean}, {MRR: by_id})
    return replace(plain, **changes)


def gained(gain: float, noise: int) -> list[float]:
    return list(np.clip(BASE + gain + NOISE[noise], 0, 1))
