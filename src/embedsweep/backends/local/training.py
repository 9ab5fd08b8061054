"""The training loop of a local recipe."""

from __future__ import annotations

from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.encoder import LocalEmbedder, TrainingEncoder
from embedsweep.backends.local.partial import merged, restrict
from embedsweep.backends.objective import Objective
from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch, Rows, texts_by_role
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss


class Training:
    """One fine-tune. `run` may be called once.

    Args:
        model: Changed in place.
        recipe: How to train.
        data: What to train on.
        precision: What matrices are multiplied in.
        store: Where token ids, and what frozen layers make of them, are kept; None for nowhere.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        recipe: LocalRecipe,
        data: TrainingSet,
        precision: torch.dtype,
        store: ArrayStore | None = None,
    ) -> None:
        restrict(model, recipe)
        self._model = model
        self._recipe = recipe
        self._embedder = LocalEmbedder(model, precision, store)
        self._encoder = TrainingEncoder(model, precision, recipe.train_tokens, store)
        self._encoder.prepare(texts_by_role(data))
        self._objective = Objective(recipe, data, self._embedder, model.device)
        self._optimization = Optimization(
            model,
            recipe,
            Rows(data, recipe.loss.needs, recipe.batch_size, recipe.seed),
            self._objective.parameters,
        )
        self.total_steps = self._optimization.total_steps

    def run(self, listener: TrainingListener) -> None:
        """Train all epochs; raises `TrialFailure` as soon as a loss or a weight is not finite."""

        def on_step(done: int, total: int, loss: float) -> None:
            listener.on_step(done, total)
            listener.on_metrics(done, {"train/loss": loss})

        listener.on_step(0, self.total_steps)
        for epoch, loss in self._optimization.epochs(self.backward, on_step):
            listener.on_epoch(EpochEnd(epoch, {"train/loss": loss}, self._embedder, self.save))

    def save(self, folder: Path) -> None:
        """Leave the model so far in a folder."""
        merged(self._model).save(str(folder), create_model_card=False)

    def backward(self, batch: Batch) -> Tensor:
        """Leave the gradients of a batch's loss in the weights; returns the loss."""
        cached = self._recipe.loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING
        return self._encoder.backward(
            *batch.flattened(),
            lambda vectors: self._objective(vectors, batch),
            int(self._recipe.knob("mini_batch_size")) if cached else None,
        )
