"""The local backend: recipes to sentence-transformers models, in this process."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.backends.local.devices import (
    best_device,
    fast_precision,
    keep_freed_memory,
    lacks_memory,
)
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.backends.local.opening import open_model
from embedsweep.backends.local.prompts import apply_prompts
from embedsweep.backends.local.training import Training
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Backend, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, TunedRecipe
from embedsweep.core.trial import TrialFailure


class LocalBackend:
    """Fine-tunes sentence-transformers models on this machine; fulfils `core.ports.Backend`.

    Args:
        device: Where torch computes; None for the best there is.
        arrays: Where token ids, and what frozen layers make of them, are kept and shared; None
            for nowhere.
        measuring: Whether models are opened to be measured: they embed in the precision that
            training multiplies in, as the models of a training do for its listener. Else they
            embed in float32, as they are served.
    """

    def __init__(
        self, device: str | None = None, arrays: Path | None = None, *, measuring: bool = False
    ) -> None:
        self.device = device or best_device()
        self._store = ArrayStore(arrays)
        self._precision = fast_precision(self.device)
        self._embedding_precision = self._precision if measuring else torch.float32
        keep_freed_memory()

    def base_digest(self, base: Base) -> str:
        return base_model_digest(base.model, base.revision)

    def train(
        self,
        recipe: TunedRecipe,
        data: TrainingSet,
        folder: Path | None,
        listener: TrainingListener,
    ) -> None:
        if not isinstance(recipe, LocalRecipe):
            raise TypeError(f"expected a local recipe, got {recipe.kind}")
        listener.on_fact("device", self.device)
        listener.on_fact("precision", str(self._precision).removeprefix("torch."))
        listener.on_fact("threads", str(torch.get_num_threads()))
        devices = [torch.device(self.device)] if self.device == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                torch.manual_seed(recipe.seed)
                model = self._base(recipe.base)
                training = Training(model, recipe, data, self._precision, self._store)
                listener.on_fact("steps", str(training.total_steps))
                training.run(listener)
        except Exception as error:
            if not lacks_memory(error):
                raise
            raise TrialFailure(
                "out_of_memory",
                f"{error}; a smaller batch_size or train_tokens, or the cached loss, needs less",
            ) from error
        if folder is not None:
            training.save(folder)

    def untuned(self, base: Base, folder: Path) -> None:
        self._base(base).save(str(folder), create_model_card=False)

    def embedder(self, base: Base) -> LocalEmbedder:
        """Open a base model as it comes, with the prompts that `base` gives it."""
        return LocalEmbedder(self._base(base).eval(), self._embedding_precision, self._store)

    def _base(self, base: Base) -> SentenceTransformer:
        model = open_model(base_folder(base.model, base.revision), self.device)
        apply_prompts(model, base.prompts)
        return model

    def open(self, folder: Path) -> LocalEmbedder:
        model = open_model(folder, self.device).eval()
        return LocalEmbedder(model, self._embedding_precision, self._store)


_: type[Backend] = LocalBackend
