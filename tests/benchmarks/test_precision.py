"""What measuring in bfloat16 changes of a measure, against the same model in float32.

Every other way of rounding moves near ties in a ranking as much: how many queries there are decides
how far one of them moves the mean, so their number stands beside each figure.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from embedsweep import wiring
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.core.dataset import Benchmark
from embedsweep.evaluation import evaluate
from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.results import Results, rounding_limit
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS
from tests.conftest import ROOT, public_data

pytestmark = BENCHMARK

EXPERIMENTS = (
    "quickstart",
    *(workload.name for workload in WORKLOADS),
    *(() if SIZES.quick else ("cranfield",)),
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_effect_of_bfloat16(
    name: str, base_model: str, data: Path, results: Results, tmp_path: Path
) -> None:
    if name != "quickstart":
        public_data(name)
    experiment, dataset = wiring.load(ROOT / "experiments" / f"{name}.yaml")
    folder = base_folder(base_model)
    low, exact = (LocalBackend("cpu", measuring=each).open(folder) for each in (True, False))
    objective = experiment.objective
    for split, benchmark in (("valid", dataset.valid), ("test", dataset.sealed_test())):
        measured = [evaluate(each, benchmark, objective).means[objective] for each in (low, exact)]
        effect, items = measured[0] - measured[1], _items(benchmark)
        results.record(
            f"precision/{name}/{split}",
            str(objective),
            [effect],
            bfloat16=measured[0],
            float32=measured[1],
            items=items,
        )
        assert abs(effect) <= rounding_limit(items)


def _items(benchmark: Benchmark) -> int:
    """Queries, or labelled texts where there are no queries."""
    if benchmark.retrieval is not None:
        return len(benchmark.retrieval.queries)
    return sum(1 for _ in benchmark.every_text())
