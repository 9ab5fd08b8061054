"""What trains in the processes of the fine-tuning service: found there by its name."""

from __future__ import annotations

from pathlib import Path

from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import LocalRecipe


def train(recipe: LocalRecipe, data: TrainingSet, folder: Path, listener: TrainingListener) -> None:
    """Train a job with the local backend."""
    from embedsweep.backends.local.backend import LocalBackend

    LocalBackend().train(recipe, data, folder, listener)
