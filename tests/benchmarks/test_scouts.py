"""Do adapters rank the knobs as full fine-tunes do, so that they could scout for them?

Every combination of loss, rate and batch size is trained as a linear head on the frozen model and
as a full fine-tune, on the same rows, seed and epochs, and measured on the same validation split.
A knob's rate is shared as its quantile in the range a search would draw from.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.embedding_cache import CachedEmbedder, EmbeddingCache, model_identity
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Backend, EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, LocalRecipe, Loss
from embedsweep.core.report import Measure
from embedsweep.evaluation import Evaluator
from embedsweep.evaluation.sample import for_epochs
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS, Workload, opened

pytestmark = BENCHMARK

LOSSES = (Loss.MULTIPLE_NEGATIVES_RANKING, Loss.BATCH_HARD_TRIPLET, Loss.COSENT)
BATCHES = (32, 64)
QUANTILES = (0.125, 0.375, 0.625, 0.875)
LOCAL_RATES, HEAD_RATES = (5e-6, 2e-4), (1e-5, 1e-2)
TOP = 3
"""Recipes of which the best would be taken."""


def rate(bounds: tuple[float, float], quantile: float) -> float:
    low, high = bounds
    return low * (high / low) ** quantile


def recipes(base_model: str) -> list[tuple[LocalRecipe, AdapterRecipe]]:
    """The same knobs for both."""
    found = []
    for loss, quantile, batch in product(LOSSES, QUANTILES, BATCHES):
        local = LocalRecipe(
            base_model=base_model,
            loss=loss,
            epochs=1,
            learning_rate=rate(LOCAL_RATES, quantile),
            batch_size=batch,
            seed=7,
        )
        head = AdapterRecipe(
            base_model=base_model,
            head=Head.LINEAR,
            loss=loss,
            epochs=1,
            learning_rate=rate(HEAD_RATES, quantile),
            batch_size=batch,
            seed=7,
        )
        found.append((local, head))
    return found[: SIZES.scouts]


def score(
    backend: Backend,
    recipe: LocalRecipe | AdapterRecipe,
    data: TrainingSet,
    evaluator: Evaluator,
    objective: Measure,
) -> float:
    measured: list[float] = []

    def on_epoch(end: EpochEnd) -> None:
        measured.append(evaluator.report(end.embedder).means[objective])

    backend.train(recipe, data, None, TrainingListener(on_epoch=on_epoch))
    return measured[-1]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_adapters_as_scouts(
    workload: Workload, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    experiment, dataset = opened(workload, tmp_path)
    objective, rows = experiment.objective, dataset.train
    evaluator = Evaluator(for_epochs(dataset.valid), objective)
    local = LocalBackend("cpu", tmp_path / "arrays", measuring=True)
    frozen = local.open(base_folder(base_model))
    cache = EmbeddingCache(tmp_path / "vectors")

    def open_base(base: Base) -> CachedEmbedder:
        return CachedEmbedder(lambda: frozen, model_identity(base, local.base_digest(base)), cache)

    adapter = AdapterBackend(open_base, local.base_digest)
    pairs = recipes(base_model)
    scouts = [score(adapter, head, rows, evaluator, objective) for _, head in pairs]
    full = [score(local, recipe, rows, evaluator, objective) for recipe, _ in pairs]

    # Knobs that change nothing, as in a quick look, have no ranking.
    assert SIZES.quick or min(len(set(scouts)), len(set(full))) > 1
    detail = {
        "pairs": len(rows),
        "recipes": [
            f"{each.loss.value} {each.learning_rate:.1e} {each.batch_size}" for each, _ in pairs
        ],
        "scouts": scouts,
        "full": full,
    }
    where = f"scouts/{workload.name}"
    groups = {"": pairs} | {
        f"/{loss.value}": [pair for pair in pairs if pair[0].loss is loss] for loss in LOSSES
    }
    for name, group in groups.items():
        own = [pairs.index(pair) for pair in group]
        ranks = [[side[place] for place in own] for side in (scouts, full)]
        # Nor has a loss by itself.
        if min(len(set(side)) for side in ranks) > 1:
            rho = float(spearmanr(*ranks).statistic)
            results.record(f"{where}/rank_correlation{name}", "Spearman's rho", [rho], **detail)
    chosen = np.argsort(scouts)[::-1][:TOP]
    regret = max(full) - max(full[place] for place in chosen)
    results.record(f"{where}/regret_of_the_best_{TOP}", str(objective), [regret])
    half = [max(full) - value for value in sorted(full)]
    results.record(
        f"{where}/median_regret_of_one_at_random", str(objective), [half[len(half) // 2]]
    )
