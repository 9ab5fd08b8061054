"""How much each benchmark measures: the real sizes, and those of a quick look.

``BENCH_QUICK=1`` takes the smallest sizes that still run every line; ``BENCH_TRIALS`` and
``BENCH_ROUNDS`` set the numbers of trials and rounds. What was run stands beside each figure.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        quick: Whether the public data is cut to a few rows and the models are two small layers.
        rounds: Of each figure, after a warm-up; a round of the throughput is a seed of its own.
        squad_pairs: Training pairs of squad-mini; the plain way reads few a second.
        part_pairs: Training pairs where parts of a model are trained.
        half_the_layers: Of the model that is trained.
        scouts: Recipes trained as adapters and in full.
        sweep_trials: Trials of each side of the sweep race.
        adapter_trials: Trials on cached vectors.
        pairs, tokens, documents: Sizes over which growth is fitted.
        growth_rounds: Of each of those sizes.
        matrix: Side of the square matrices by which the machine's peak is measured.
        worse: By how much our measure may be below the other side's, on the mean; a quick look's
            tells nothing.
    """

    quick: bool
    rounds: int
    squad_pairs: int
    part_pairs: int
    half_the_layers: int
    scouts: int
    sweep_trials: int
    adapter_trials: int
    pairs: tuple[int, ...]
    tokens: tuple[int, ...]
    documents: tuple[int, ...]
    growth_rounds: int
    matrix: int
    worse: float


REAL = Sizes(
    quick=False,
    rounds=3,
    squad_pairs=512,
    part_pairs=2048,
    half_the_layers=3,
    scouts=24,
    sweep_trials=12,
    adapter_trials=1000,
    pairs=(1_000, 10_000, 100_000),
    tokens=(16, 64, 256),
    documents=(2_000, 20_000, 200_000),
    growth_rounds=3,
    matrix=2048,
    worse=0.005,
)
QUICK = Sizes(
    quick=True,
    rounds=1,
    squad_pairs=16,
    part_pairs=24,
    half_the_layers=1,
    scouts=4,
    sweep_trials=2,
    adapter_trials=3,
    pairs=(32, 64),
    tokens=(8, 16),
    documents=(50, 100),
    growth_rounds=1,
    matrix=256,
    worse=1.0,
)


def chosen_sizes() -> Sizes:
    """What the environment asks for."""
    sizes = QUICK if os.environ.get("BENCH_QUICK", "0") not in ("", "0") else REAL
    if trials := os.environ.get("BENCH_TRIALS"):
        sizes = replace(sizes, sweep_trials=int(trials), adapter_trials=int(trials))
    if rounds := os.environ.get("BENCH_ROUNDS"):
        sizes = replace(sizes, rounds=int(rounds), growth_rounds=int(rounds))
    return sizes


SIZES = chosen_sizes()
