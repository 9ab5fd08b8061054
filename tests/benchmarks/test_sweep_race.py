"""The race of two sweeps: when does ours have a model as good as the plain way's best?

The same space, number of trials, pruner, data and machine. Each side reads prepared data and finds
MLflow's database made; all else is inside its clock: drawing, opening the model, training,
measuring each epoch and keeping the model. Our baselines and scouts take their time and count for
nothing.
The models of both sides are measured on the whole validation split by one evaluation, in float32
and outside the clocks: whatever a sweep measured by, its scores here are the same measure.
The plain way runs once, to its end. Then ours runs once for each round, with another seed of its
sampler, until one of its models is as good as the plain way's best.
"""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from embedsweep import wiring
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.core.dataset import Dataset
from embedsweep.core.report import Measure
from embedsweep.evaluation import evaluate
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.machine import matmul_rates
from tests.benchmarks.opponent import PlainSpace, PlainSweep
from tests.benchmarks.own_sweep import RacedTrial, own_stores, raced, seconds_to
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS, Workload, experiment_file, pairs_of

pytestmark = BENCHMARK

SEED = 7
SCOUTS = 16
SPACE = PlainSpace((1, 3), (1e-5, 2e-4), (32, 64), SEED)


def search(base_model: str, seed: int) -> dict[str, Any]:
    """The plain space as an experiment file has it."""
    low, high = SPACE.learning_rate
    arm = {
        "backend": "local",
        "base_model": base_model,
        "loss": "multiple_negatives_ranking",
        "epochs": {"low": SPACE.epochs[0], "high": SPACE.epochs[1]},
        "learning_rate": {"low": low, "high": high, "log": True},
        "batch_size": list(SPACE.batch_size),
    }
    return {
        "trials": SIZES.sweep_trials,
        "seed": seed,
        "pruner": "median",
        "scouts": SCOUTS,
        "arms": [arm],
    }


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_sweep_race(
    workload: Workload, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    experiment, dataset = wiring.load(experiment_file(workload, tmp_path, search(base_model, SEED)))
    measure = partial(_measured, dataset, experiment.objective)

    plain = PlainSweep(
        base_folder(base_model),
        pairs_of(dataset.train, SEED),
        dataset.valid,
        _new(tmp_path / "plain"),
        SPACE,
    )
    rates = [_matmul_rate()]
    plain_seconds = plain.run(SIZES.sweep_trials, SEED)
    ends = [
        (trial.ended, measure(trial.model)) for trial in plain.trials if trial.model is not None
    ]
    best_ended, target = max(ends, key=lambda row: (row[1], -row[0]))
    detail = {
        "trials": SIZES.sweep_trials,
        "objective": str(experiment.objective),
        "base_model": Path(base_model).name,
        "pairs": len(dataset.train),
        "target": target,
    }
    where = f"sweep/{workload.name}"
    results.record(f"{where}/theirs", "s", [plain_seconds], ends=ends, **detail)
    results.record(f"{where}/theirs_to_its_best", "s", [best_ended], **detail)

    def ours(seed: int) -> list[RacedTrial]:
        folder = _new(tmp_path / f"ours-{seed}")
        own, _ = wiring.load(experiment_file(workload, folder, search(base_model, seed)))
        rates.append(_matmul_rate())
        return raced(own_stores(folder), own, dataset, SIZES.sweep_trials, measure, target)

    sweeps: list[list[RacedTrial]] = []
    for number in range(SIZES.rounds):
        sweeps.append(ours(SEED + number))
        seconds = [sweep[-1].ended for sweep in sweeps]
        kept = [[(trial.ended, trial.measured) for trial in sweep] for sweep in sweeps]
        results.record(f"{where}/ours", "s", seconds, ends=kept, **detail)
        reached = [seconds_to(sweep, target) for sweep in sweeps]
        # A sweep that never came there is no number of times as fast.
        for name, theirs in {"ratio": plain_seconds, "ratio_to_its_best": best_ended}.items():
            times = [theirs / mine if mine else 0.0 for mine in reached]
            results.record(f"{where}/{name}", "times", times, seconds=reached, **detail)
    results.record(f"{where}/machine", "GFLOP/s", rates, before="theirs, then each of ours")
    assert sum(mine is not None for mine in reached) > len(reached) / 2, results.path


def _matmul_rate() -> float:
    return statistics.median(matmul_rates(torch.bfloat16, SIZES.matrix))


def _measured(dataset: Dataset, objective: Measure, model: Path) -> float:
    return evaluate(LocalBackend("cpu").open(model), dataset.valid, objective).means[objective]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
