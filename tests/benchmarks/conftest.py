"""What the benchmarks share: the document of figures, the public data, and a clean environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from embedsweep.backends.local.base_models import EMBEDDED
from tests.benchmarks.machine import machine_facts
from tests.benchmarks.results import Results, table
from tests.benchmarks.sizes import SIZES
from tests.benchmarks.workloads import WORKLOADS, small_copy
from tests.conftest import DATA, public_data
from tests.integration.tiny_models import make_tiny_base

RESULTS = pytest.StashKey[Results]()
NOT_INHERITED = ("EMBEDSWEEP_", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_")
"""Settings of whoever runs the benchmarks, which would move their stores elsewhere."""


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    # A quick look leaves the real figures alone.
    usual = "bench-quick.json" if SIZES.quick else "bench.json"
    path = Path(os.environ.get("BENCH_JSON", usual))
    run = datetime.now(UTC).isoformat(timespec="seconds")
    results = Results(path, run, {**machine_facts(), "quick": SIZES.quick})
    pytestconfig.stash[RESULTS] = results
    return results


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The public data; for a quick look a few rows of it."""
    for workload in WORKLOADS:
        public_data(workload.name)
    folder = DATA
    if SIZES.quick:
        folder = tmp_path_factory.mktemp("data")
        small_copy(DATA, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(NOT_INHERITED)]:
            patch.delenv(name)
        patch.setenv("EMBEDSWEEP_DATA", str(folder))
        yield folder


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What both sides tune: the embedded default; for a quick look two small layers."""
    if not SIZES.quick:
        return EMBEDDED
    return str(make_tiny_base(tmp_path_factory.mktemp("models") / "tiny"))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    results = config.stash.get(RESULTS, None)
    if results is not None and results.figures:
        terminalreporter.section(f"figures, written to {results.path}")
        terminalreporter.write_line(table(results.figures))
