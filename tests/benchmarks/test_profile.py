"""Where the time of one trial goes, and how far its products are from the machine's peak.

The trial runs as in a sweep, ledger and all. Its rate of training counts 6 operations for each
weight of the encoder layers' matrices and each token, padding not counted: 2 forward, 4 backward.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.backends.local.opening import open_model
from embedsweep.core.dataset import Dataset
from embedsweep.core.ports import Sweep, TrialStart
from embedsweep.core.recipe import LocalRecipe, recipe_fingerprint
from embedsweep.core.report import Measure
from embedsweep.core.trial import Completed, Role
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep.run_trial import TrialRunner
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.machine import matmul_rates
from tests.benchmarks.own_sweep import own_services, own_stores
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.spans import Rule, profiled
from tests.benchmarks.workloads import WORKLOADS, Workload, opened

pytestmark = BENCHMARK

LOCAL = "embedsweep/backends/local"
RULES = (
    Rule("evaluation", "embedsweep/evaluation/dense.py", whole=True),
    Rule("records", "embedsweep/stores/mlflow_ledger.py", whole=True),
    Rule("records", "embedsweep/workflows/sweep/run_trial.py", ("_companions", "_canaries"), True),
    Rule("records", f"{LOCAL}/training.py", ("save",), whole=True),
    Rule("opening", f"{LOCAL}/encoder.py", ("open_model",), whole=True),
    Rule("tokenizing", f"{LOCAL}/tokens.py"),
    Rule("tokenizing", "", ("encode_batch", "encode_batch_fast")),
    Rule("tokenizing", "sentence_transformers/base/model.py", ("preprocess",), whole=True),
    Rule("backward", "", ("run_backward",)),
    Rule("backward", f"{LOCAL}/packed_step.py", ("backward",), whole=True),
    Rule("optimizer", "torch/nn/utils/clip_grad.py", ("clip_grad_norm_",), whole=True),
    Rule("optimizer", "torch/optim/optimizer.py", ("zero_grad",), whole=True),
    Rule("optimizer", "torch/optim/adamw.py", whole=True),
    Rule("optimizer", "torch/optim/adam.py", whole=True),
    Rule("optimizer", "embedsweep/backends/averaging.py", whole=True),
    Rule("rows", "embedsweep/backends/rows.py"),
    Rule("forward", f"{LOCAL}/training.py", ("backward", "_cached_backward")),
)
OPERATIONS_PER_WEIGHT = 6


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_profile_of_a_trial(
    workload: Workload, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    experiment, dataset = opened(workload, tmp_path)
    with own_services(own_stores(tmp_path), experiment) as services:
        runner = _runner(services, dataset, experiment.objective)
        runner.run(_start(0, workload.recipe(base_model, 0)))  # warms up
        start = _start(1, workload.recipe(base_model, 1))
        outcomes = []
        seconds = profiled(lambda: outcomes.append(runner.run(start).outcome), RULES)
    assert outcomes == [Completed()]

    where, total = f"profile/{workload.name}", sum(seconds.values())
    results.record(f"{where}/trial", "s", [total], pairs=len(dataset.train))
    for span, took in seconds.items():
        results.record(f"{where}/share/{span}", "of the trial", [took / total], seconds=took)
    weights, tokens = _weights(base_model), _tokens(base_model, dataset) * workload.epochs
    passes = seconds["forward"] + seconds["backward"]
    rate = OPERATIONS_PER_WEIGHT * weights * tokens / passes / 1e9
    results.record(f"{where}/rate", "GFLOP/s", [rate], weights=weights, tokens=tokens)
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        peaks = matmul_rates(dtype, SIZES.matrix)
        results.record(f"{where}/matmul_peak/{name}", "GFLOP/s", peaks, side=SIZES.matrix)
        shares = [rate / peak for peak in peaks]
        results.record(f"{where}/share_of_peak/{name}", "of the peak", shares)


def _runner(services: Services, dataset: Dataset, objective: Measure) -> TrialRunner:
    sweep = Sweep("profile", str(objective), {"of": "a profile"}, "0" * 64, dataset)
    return TrialRunner(services, services.ledger.begin(sweep), dataset, objective)


def _start(number: int, recipe: LocalRecipe) -> TrialStart:
    digest = base_model_digest(recipe.base_model)
    return TrialStart(number, Role.TRIAL, "local", recipe, recipe_fingerprint(recipe, digest))


def _weights(base_model: str) -> int:
    """Weights of the matrices in the encoder layers; embeddings are looked up, not multiplied."""
    model = open_model(base_folder(base_model), "cpu")
    matrices = (
        weight
        for name, weight in model.named_parameters()
        if ".encoder.layer." in name and weight.dim() == 2
    )
    return sum(weight.numel() for weight in matrices)


def _tokens(base_model: str, dataset: Dataset) -> int:
    """Tokens of one epoch as the model reads them.

    A labelled text is the anchor of one pair and, in the mean, the positive of another one.
    """
    folder = base_folder(base_model)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(int(open_model(folder, "cpu").max_seq_length))
    times = 1 if dataset.train.pairs else 2
    texts = list(dataset.train.every_text())
    return times * sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
