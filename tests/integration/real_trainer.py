"""Trains with the local backend, which worker processes load when they first train."""

from __future__ import annotations

from pathlib import Path

from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import LocalRecipe


def train(recipe: LocalRecipe, data: TrainingSet, folder: Path, listener: TrainingListener) -> None:
    import torch

    from embedsweep.backends.local.backend import LocalBackend

    # Two threads that wait for each other on a busy machine take ten times as long as one.
    torch.set_num_threads(1)
    LocalBackend("cpu").train(recipe, data, folder, listener)
