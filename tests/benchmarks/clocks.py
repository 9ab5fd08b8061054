"""What is timed, the same on both sides: training alone, with the model open and the data read."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import base_folder
from embedsweep.backends.local.opening import open_model
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe

OPENINGS = 3

BENCHMARK = [
    pytest.mark.bench,
    pytest.mark.timeout(0),
    # What the libraries of either side warn of is theirs; a benchmark breaks for no warning.
    pytest.mark.filterwarnings("default"),
]
"""Marks of every file of benchmarks."""


def seconds(work: Callable[[], object]) -> float:
    """Wall time of the work; the number of torch's threads may not change by it."""
    threads = torch.get_num_threads()
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    assert torch.get_num_threads() == threads
    return took


def opening_seconds(base_model: str) -> float:
    """What it takes to open a base model, the median of a few times."""
    folder = base_folder(base_model)
    return statistics.median(seconds(lambda: open_model(folder, "cpu")) for _ in range(OPENINGS))


def our_training_seconds(
    backend: LocalBackend, recipe: LocalRecipe, data: TrainingSet, folder: Path
) -> float:
    """Seconds our backend trains; what it takes to open and to save the model is not counted.

    The backend opens the model itself: what opening takes is measured beside it and taken off.
    """
    opening = opening_seconds(recipe.base_model)
    ends: list[float] = []

    def on_epoch(end: EpochEnd) -> None:
        ends.append(time.perf_counter())

    began = time.perf_counter()
    backend.train(recipe, data, folder, TrainingListener(on_epoch=on_epoch))
    return ends[-1] - began - opening


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """How many times as fast, round by round."""
    return [theirs / ours for theirs, ours in zip(slow, fast, strict=True)]
