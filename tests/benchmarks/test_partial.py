"""Training a part of a model against training it whole, in turns.

Tokenizing, and where layers are frozen their states, are inside the clock of the first round alone:
afterwards they lie in the store, as they do for every trial of a sweep but the first.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.core.dataset import TrainingSet
from tests.benchmarks.clocks import BENCHMARK, our_training_seconds, ratios
from tests.benchmarks.results import Results
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import BANKING77, opened

pytestmark = BENCHMARK

PARTS: dict[str, dict[str, int]] = {
    "whole": {},
    "last_half": {"train_layers": SIZES.half_the_layers},
    "last_half_states_not_kept": {"train_layers": SIZES.half_the_layers},
    "lora": {"lora_rank": 16},
    "lora_in_the_last_half": {"train_layers": SIZES.half_the_layers, "lora_rank": 16},
}


def test_partial_fine_tuning(base_model: str, data: Path, results: Results, tmp_path: Path) -> None:
    _, dataset = opened(BANKING77, tmp_path)
    rows = TrainingSet(texts=dataset.train.texts[: SIZES.part_pairs])
    whole = replace(BANKING77.recipe(base_model, 1), epochs=1)
    kept, not_kept = LocalBackend("cpu", tmp_path / "arrays"), LocalBackend("cpu")
    rates: dict[str, list[float]] = {name: [] for name in PARTS}
    for seed in range(SIZES.rounds + 1):
        for name, part in PARTS.items():
            backend = not_kept if name.endswith("not_kept") else kept
            recipe = replace(whole, seed=seed, **part)
            took = our_training_seconds(backend, recipe, rows, tmp_path / name)
            rates[name].append(len(rows) / took)
    # Else all of them would be measured as if their states were not kept.
    assert any((tmp_path / "arrays").iterdir())
    detail = {"base_model": Path(base_model).name, "pairs": len(rows), "epochs": 1}
    for name, values in rates.items():
        results.record(f"partial/{name}", "pairs/s", values[1:], first=values[0], **detail)
        if part := PARTS[name]:
            results.record(
                f"partial/{name}/ratio", "times", ratios(values[1:], rates["whole"][1:]), **part
            )
