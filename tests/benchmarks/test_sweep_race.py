"""The race of two sweeps: when does ours have a model as good as the plain way's best?

The same space, number of trials, data and machine. Each side reads prepared data and finds
MLflow's database made; all else is inside its clock: drawing, opening the model, training,
measuring each epoch and keeping the model. Our baselines take their time and count for nothing.
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
from tests.benchmarks.own_sweep import own_stores, seconds_to, swept
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS, Workload, experiment_file, pairs_of

pytestmark = BENCHMARK

SEED = 7
SPACE = PlainSpace((1, 3), (1e-5, 2e-4), (32, 64), SEED)


def search(base_model: str) -> dict[str, Any]:
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
    return {"trials": SIZES.sweep_trials, "seed": SEED, "arms": [arm]}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_sweep_race(
    workload: Workload, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    path = experiment_file(workload, tmp_path, search(base_model))
    experiment, dataset = wiring.load(path)
    objective, trials = experiment.objective, SIZES.sweep_trials

    plain = PlainSweep(
        base_folder(base_model),
        pairs_of(dataset.train, SEED),
        dataset.valid,
        _new(tmp_path / "plain"),
        SPACE,
    )
    plain_seconds = plain.run(trials, SEED)
    stores = own_stores(_new(tmp_path / "ours"))
    measure = partial(_measured, dataset, objective)
    ours = swept(stores, experiment, dataset, trials, measure)

    scored = [
        (measure(trial.model), trial.ended) for trial in plain.trials if trial.model is not None
    ]
    target, best_ended = max(scored, key=lambda row: (row[0], -row[1]))
    reached = seconds_to(ours.trials, target)
    models = [trial for trial in ours.trials if trial.measured is not None]
    detail = {
        "trials": trials,
        "objective": str(objective),
        "base_model": Path(base_model).name,
        "pairs": len(dataset.train),
        "best_theirs": target,
        "best_ours": max((trial.measured for trial in models), default=None),
        "ends_theirs": [[ended, score] for score, ended in scored],
        "ends_ours": [[trial.ended, trial.measured] for trial in models],
    }
    where = f"sweep/{workload.name}"
    results.record(f"{where}/theirs", "s", [plain_seconds], **detail)
    results.record(f"{where}/theirs_to_its_best", "s", [best_ended], **detail)
    results.record(f"{where}/ours", "s", [ours.seconds], **detail)
    assert reached is not None, f"ours came to {detail['best_ours']}, theirs to {target}"
    results.record(f"{where}/ours_to_their_best", "s", [reached], **detail)
    results.record(f"{where}/ratio", "times", [plain_seconds / reached], **detail)
    results.record(f"{where}/ratio_to_its_best", "times", [best_ended / reached], **detail)


def _measured(dataset: Dataset, objective: Measure, model: Path) -> float:
    return evaluate(LocalBackend("cpu").open(model), dataset.valid, objective).means[objective]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder
