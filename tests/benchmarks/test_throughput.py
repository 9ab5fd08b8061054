"""Training throughput: our backend against sentence-transformers' own trainer, in turns.

Same model, loss, number of pairs, batch size, epochs, rate and truncation. Both read prepared data
with the model open; tokenizing is inside both clocks. Each round is another seed, and the models it
leaves are measured on the test split by our own evaluation, outside the clocks.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from datasets import Dataset as Columns

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.backends.local.opening import open_model
from embedsweep.core.dataset import Dataset, TrainingSet
from embedsweep.core.report import Measure
from embedsweep.evaluation import evaluate
from tests.benchmarks.clocks import BENCHMARK, our_training_seconds, ratios, seconds
from tests.benchmarks.opponent import PlainRecipe, train
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS, Workload, opened, pairs_of

pytestmark = BENCHMARK

BATCHES_TO_WARM_UP = 2


class Sides:
    """Both ways to train on one workload, each leaving its model in a folder."""

    def __init__(self, workload: Workload, base_model: str, folder: Path) -> None:
        self._workload = workload
        self._base_model = base_model
        self._folder = folder
        self._backend = LocalBackend("cpu")

    def ours(
        self, data: TrainingSet, seed: int, *, epochs: int | None = None
    ) -> tuple[float, Path]:
        """Seconds, and the model."""
        recipe = self._workload.recipe(self._base_model, seed)
        recipe = replace(recipe, epochs=epochs or recipe.epochs)
        target = self._folder / f"ours-{seed}"
        return our_training_seconds(self._backend, recipe, data, target), target

    def theirs(
        self, pairs: dict[str, list[str]], seed: int, *, epochs: int | None = None
    ) -> tuple[float, Path]:
        """Seconds, and the model."""
        workload = self._workload
        recipe = PlainRecipe(
            epochs or workload.epochs, workload.learning_rate, workload.batch_size, seed
        )
        columns = Columns.from_dict(pairs)
        model = open_model(base_folder(self._base_model), "cpu")
        target = self._folder / f"theirs-{seed}"
        took = seconds(lambda: train(model, columns, recipe, target))
        model.save(str(target / "model"), create_model_card=False)
        return took, target / "model"

    def warm_up(self, dataset: Dataset) -> None:
        """A few batches on both sides."""
        rows = BATCHES_TO_WARM_UP * self._workload.batch_size
        data = dataset.train
        few = TrainingSet(texts=data.texts[:rows], pairs=data.pairs[:rows])
        self.ours(few, 0, epochs=1)
        pairs = pairs_of(few, 0)
        self.theirs(pairs, 0, epochs=1)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_training_throughput(
    workload: Workload, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    experiment, dataset = opened(workload, tmp_path)
    sides = Sides(workload, base_model, tmp_path)
    sides.warm_up(dataset)
    models: dict[str, list[Path]] = {"ours": [], "theirs": []}
    rates: dict[str, list[float]] = {"ours": [], "theirs": []}
    for seed in range(1, SIZES.rounds + 1):
        pairs = pairs_of(dataset.train, seed)
        trained = len(pairs["anchor"]) * workload.epochs
        turns = {
            "theirs": partial(sides.theirs, pairs, seed),
            "ours": partial(sides.ours, dataset.train, seed),
        }
        # Neither side is always the second one.
        for side in sorted(turns, reverse=seed % 2 == 0):
            took, model = turns[side]()
            rates[side].append(trained / took)
            models[side].append(model)
    where = f"throughput/{workload.name}"
    detail = {
        "base_model": Path(base_model).name,
        "pairs": len(dataset.train),
        "epochs": workload.epochs,
        "batch_size": workload.batch_size,
        "learning_rate": workload.learning_rate,
    }
    for side, values in rates.items():
        results.record(f"{where}/{side}", "pairs/s", values, **detail)
    results.record(f"{where}/ratio", "times", ratios(rates["ours"], rates["theirs"]), **detail)
    differences = _record_quality(where, dataset, experiment.objective, models, results)
    assert statistics.fmean(differences) >= -SIZES.worse


def _record_quality(
    where: str,
    dataset: Dataset,
    objective: Measure,
    models: dict[str, list[Path]],
    results: Results,
) -> list[float]:
    """The test measure of the models, ours less theirs, seed by seed, all by one evaluation."""
    backend, test = LocalBackend("cpu"), dataset.sealed_test()
    scores = {
        side: [evaluate(backend.open(model), test, objective).means[objective] for model in folders]
        for side, folders in models.items()
    }
    for side, values in scores.items():
        results.record(f"{where}/test_{side}", str(objective), values)
    differences = [
        ours - theirs for ours, theirs in zip(scores["ours"], scores["theirs"], strict=True)
    ]
    results.record(
        f"{where}/test_difference",
        str(objective),
        differences,
        mean=statistics.fmean(differences),
        meaning="ours less theirs, at equal epochs, rate and batch size",
    )
    return differences
