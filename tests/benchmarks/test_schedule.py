"""Is the model after an epoch of one training as good as that of a training which ends there?

One training at our constant rate, averaged, gives the model of every epoch. Against it stands one
training for each number of epochs, whose rate falls linearly to zero as the trainer's does. Equal
peak rates and equal mean rates are both told: a falling rate spends half of its peak.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from embedsweep.backends.local import training as local_training
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch
from embedsweep.core.dataset import Benchmark, TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.report import Measure
from embedsweep.evaluation import Evaluator
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import BANKING77, opened

pytestmark = BENCHMARK

EPOCHS = (1, 2, 3)
PEAKS = {"equal_peak": 1.0, "equal_mean": 2.0}
"""Of the falling rate, as multiples of the constant one."""


class LinearFall(Optimization):
    """A climb over a tenth of all steps, a linear fall over the rest, and no average."""

    def _rate(self, step: int) -> float:
        warmup = max(1, round(self._recipe.warmup * self.total_steps))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (self.total_steps - step) / max(1, self.total_steps - warmup)

    def epochs(
        self, backward: Callable[[Batch], Tensor], on_step: Callable[[int, int, float], None]
    ) -> Iterator[tuple[int, float]]:
        for end in super().epochs(backward, on_step):
            self._average.hide()
            yield end


class Quality:
    """Trains, and measures the models of some epochs on a split."""

    def __init__(self, data: TrainingSet, split: Benchmark, objective: Measure) -> None:
        self._backend = LocalBackend("cpu", measuring=True)
        self._data = data
        self._evaluator = Evaluator(split, objective)
        self._objective = objective

    def after(self, recipe: LocalRecipe, epochs: tuple[int, ...]) -> list[float]:
        measured = []

        def on_epoch(end: EpochEnd) -> None:
            if end.epoch in epochs:
                measured.append(self._evaluator.report(end.embedder).means[self._objective])

        self._backend.train(recipe, self._data, None, TrainingListener(on_epoch=on_epoch))
        return measured


def test_every_epoch_is_as_good_as_a_training_that_ends_there(
    base_model: str, data: Path, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, dataset = opened(BANKING77, tmp_path)
    rows = TrainingSet(texts=dataset.train.texts[: SIZES.part_pairs])
    quality = Quality(rows, dataset.sealed_test(), experiment.objective)
    ours: list[list[float]] = []
    falling: dict[str, list[list[float]]] = {name: [] for name in PEAKS}
    for seed in range(1, SIZES.rounds + 1):
        recipe = replace(BANKING77.recipe(base_model, seed), epochs=max(EPOCHS))
        ours.append(quality.after(recipe, EPOCHS))
        with monkeypatch.context() as patch:
            patch.setattr(local_training, "Optimization", LinearFall)
            for name, peak in PEAKS.items():
                rate = recipe.learning_rate * peak
                ended = [replace(recipe, epochs=count, learning_rate=rate) for count in EPOCHS]
                falling[name].append([quality.after(each, (each.epochs,))[0] for each in ended])
    for place, epoch in enumerate(EPOCHS):
        for name in PEAKS:
            differences = [
                mine[place] - theirs[place]
                for mine, theirs in zip(ours, falling[name], strict=True)
            ]
            results.record(
                f"schedule/banking77/epoch_{epoch}/{name}",
                str(experiment.objective),
                differences,
                mean=statistics.fmean(differences),
                ours=[scores[place] for scores in ours],
                falling=[scores[place] for scores in falling[name]],
                pairs=len(rows),
                meaning="ours less the falling rate's",
            )
            assert statistics.fmean(differences) >= -SIZES.worse
