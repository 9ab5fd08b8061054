"""The race of two sweeps: when does ours have a model as good as the plain way's best?

The same space, number of trials, pruner, data and machine. Each side reads prepared data and finds
MLflow's database made; all else is inside its clock: drawing, opening the model, training,
measuring each epoch and keeping the model. Our baselines and scouts take their time and count for
nothing.
The plain way runs once, ours once for each round, with another seed of its sampler.
Afterwards the models of both sides are measured on the whole validation split by one evaluation, in
float32: whatever a sweep measured by, its scores here are the same measure.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from embedsweep import wiring
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.core.dataset import Dataset
from embedsweep.core.report import Measure
from embedsweep.evaluation import evaluate
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.opponent import PlainSpace, PlainSweep
from tests.benchmarks.own_sweep import SweptTrials, own_stores, seconds_to, swept
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

    def ours(seed: int) -> SweptTrials:
        folder = _new(tmp_path / f"ours-{seed}")
        own, _ = wiring.load(experiment_file(workload, folder, search(base_model, seed)))
        return swept(own_stores(folder), own, dataset, SIZES.sweep_trials, measure)

    first = ours(SEED)
    plain = PlainSweep(
        base_folder(base_model),
        pairs_of(dataset.train, SEED),
        dataset.valid,
        _new(tmp_path / "plain"),
        SPACE,
    )
    plain_seconds = plain.run(SIZES.sweep_trials, SEED)
    sweeps = [first, *(ours(SEED + number) for number in range(1, SIZES.rounds))]
    ends = [
        (trial.ended, measure(trial.model)) for trial in plain.trials if trial.model is not None
    ]
    detail = {
        "trials": SIZES.sweep_trials,
        "objective": str(experiment.objective),
        "base_model": Path(base_model).name,
        "pairs": len(dataset.train),
    }
    told = _record(results, f"sweep/{workload.name}", plain_seconds, ends, sweeps, detail)
    assert sum(mine is not None for mine in told) > len(told) / 2, results.path


def _record(
    results: Results,
    where: str,
    plain_seconds: float,
    plain_ends: list[tuple[float, float]],
    sweeps: list[SweptTrials],
    detail: dict[str, Any],
) -> list[float | None]:
    """Record the race; returns when each of ours reached the plain way's best, if it did."""
    best_ended, target = max(plain_ends, key=lambda row: (row[1], -row[0]))
    ends = [
        [(trial.ended, trial.measured) for trial in sweep.trials if trial.measured is not None]
        for sweep in sweeps
    ]
    best = [max(score for _, score in each) for each in ends]
    results.record(f"{where}/theirs", "s", [plain_seconds], ends=plain_ends, **detail)
    results.record(f"{where}/theirs_to_its_best", "s", [best_ended], best=target, **detail)
    seconds = [sweep.seconds for sweep in sweeps]
    results.record(f"{where}/ours", "s", seconds, ends=ends, best=best, **detail)
    reached = [seconds_to(sweep.trials, target) for sweep in sweeps]
    # A sweep that never came there is no number of times as fast.
    for name, theirs in {"ratio": plain_seconds, "ratio_to_its_best": best_ended}.items():
        times = [theirs / mine if mine else 0.0 for mine in reached]
        results.record(f"{where}/{name}", "times", times, seconds=reached, **detail)
    return reached


def _measured(dataset: Dataset, objective: Measure, model: Path) -> float:
    return evaluate(LocalBackend("cpu").open(model), dataset.valid, objective).means[objective]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
