"""The local backend: recipes to sentence-transformers models, in this process."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.backends.local.encoder import (
    LocalEmbedder,
    best_device,
    open_model,
    training_precision,
)
from embedsweep.backends.local.training import Training
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Backend, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, TunedRecipe
from embedsweep.core.trial import TrialFailure


class LocalBackend:
    """Fine-tunes sentence-transformers models on this machine; fulfils `core.ports.Backend`."""

    def __init__(self, device: str | None = None) -> None:
        self.device = device or best_device()
        # The sweep has bars of its own; one per file read would tear them apart.
        disable_progress_bar()  # type: ignore[no-untyped-call]

    def base_digest(self, base: Base) -> str:
        return base_model_digest(base.model)

    def train(
        self, recipe: TunedRecipe, data: TrainingSet, folder: Path, listener: TrainingListener
    ) -> None:
        if not isinstance(recipe, LocalRecipe):
            raise TypeError(f"expected a local recipe, got {recipe.kind}")
        precision = training_precision(self.device)
        listener.on_fact("device", self.device)
        listener.on_fact("precision", str(precision).removeprefix("torch."))
        listener.on_fact("threads", str(torch.get_num_threads()))
        devices = [torch.device(self.device)] if self.device == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                torch.manual_seed(recipe.seed)
                model = open_model(base_folder(recipe.base_model), self.device)
                training = Training(model, recipe, data, precision)
                listener.on_fact("steps", str(training.total_steps))
                training.run(listener)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise TrialFailure(
                "out_of_memory",
                f"{error}; a smaller batch_size or train_tokens, or the cached loss, needs less",
            ) from error
        training.save(folder)

    def untuned(self, base: Base, folder: Path) -> None:
        model = open_model(base_folder(base.model), self.device)
        model.save(str(folder), create_model_card=False)

    def open(self, folder: Path) -> LocalEmbedder:
        return LocalEmbedder(open_model(folder, self.device).eval())


_: type[Backend] = LocalBackend
