"""How time grows with pairs, tokens and documents, and how much memory each size takes.

The exponent is that of the fitted power: 1 is growth in proportion. Each size runs in a process of
its own. Pairs and documents are texts of eight tokens for a model of two small layers, so that what
is told is the growth of the loop and of the search; tokens are those of the embedded default, all
layers of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.clocks import BENCHMARK
from tests.benchmarks.results import Results, exponent
from tests.benchmarks.sizes import SIZES
from tests.conftest import ROOT

pytestmark = BENCHMARK

GROWING = {"pairs": SIZES.pairs, "tokens": SIZES.tokens, "documents": SIZES.documents}
MIB = 2**20


@pytest.mark.parametrize("kind", GROWING)
def test_growth(kind: str, results: Results, tmp_path: Path) -> None:
    sizes = GROWING[kind]
    seconds, most = [], []
    for size in sizes:
        rounds = [
            _measured(kind, size, tmp_path / f"{size}-{number}")
            for number in range(SIZES.growth_rounds)
        ]
        seconds.append([each["seconds"] for each in rounds])
        peaks = [each["peak"] / MIB for each in rounds]
        most.append(max(peaks))
        above = [(each["peak"] - each["before"]) / MIB for each in rounds]
        where = f"growth/{kind}/{size}"
        results.record(f"{where}/time", "s", seconds[-1])
        results.record(f"{where}/peak_memory", "MiB", peaks, above_the_data_and_model=above)
    # A fit for each round: its spread is the spread of the exponent.
    fits = [exponent(sizes, of_one_round) for of_one_round in zip(*seconds, strict=True)]
    results.record(f"growth/{kind}/exponent", "exponent", fits, sizes=list(sizes))
    # Memory holds the data, the model and one batch, and none of them twice over.
    assert exponent(sizes, most) <= 1


def _measured(kind: str, size: int, folder: Path) -> dict[str, float]:
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.growth_process", kind, str(size), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return told
