"""The training loop of a local recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedsweep.backends.local.encoder import LocalEmbedder, TrainingEncoder
from embedsweep.backends.objective import Objective
from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch, Rows
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.core.trial import TrialFailure


class Training:
    """One fine-tune. `run` may be called once.

    Args:
        model: Changed in place.
        recipe: How to train.
        data: What to train on.
        precision: What matrices are multiplied in.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        recipe: LocalRecipe,
        data: TrainingSet,
        precision: torch.dtype,
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._encoder = TrainingEncoder(model, precision)
        self._objective = Objective(recipe, data, LocalEmbedder(model), model.device)
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

        for epoch, loss in self._optimization.epochs(self.backward, on_step):
            embedder = LocalEmbedder(self._model)
            listener.on_epoch(EpochEnd(epoch, {"train/loss": loss}, embedder, self.save))

    def save(self, folder: Path) -> None:
        """Leave the model so far in a folder."""
        self._model.save(str(folder), create_model_card=False)

    def backward(self, batch: Batch) -> Tensor:
        """Leave the gradients of a batch's loss in the weights; returns the loss."""
        with _read_at_most(self._model, self._recipe.train_tokens):
            if self._recipe.loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING:
                return self._cached_backward(batch)
            with self._encoder.autocast():
                vectors = self._encoder.forward(*batch.flattened())
            loss = self._objective(vectors, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

    def _cached_backward(self, batch: Batch) -> Tensor:
        """Gradients of a large batch in the memory of a small one.

        Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup": forward without gradients in mini-batches, take the loss's gradient at the
        vectors, then forward each mini-batch again, with the same dropout, to carry it on.
        """
        texts, roles = batch.flattened()
        size = int(self._recipe.knob("mini_batch_size"))
        slices = [slice(start, start + size) for start in range(0, len(texts), size)]
        states, parts = [], []
        with torch.no_grad(), self._encoder.autocast():
            for piece in slices:
                states.append(_random_state(self._model.device))
                parts.append(self._encoder.forward(texts[piece], roles[piece]))
        vectors = torch.cat(parts).requires_grad_()
        loss = self._objective(vectors, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = vectors.grad
        if gradient is None:
            raise TrialFailure("no_gradient", "the loss does not depend on the vectors")
        for piece, state in zip(slices, states, strict=True):
            with _restored(state, self._model.device), self._encoder.autocast():
                again = self._encoder.forward(texts[piece], roles[piece])
            again.backward(gradient[piece])  # type: ignore[no-untyped-call]
        return loss


@contextmanager
def _read_at_most(model: SentenceTransformer, tokens: int | None) -> Iterator[None]:
    """Truncates texts to so many tokens while it lasts, never beyond the model's own limit."""
    own = model.max_seq_length
    if tokens is not None:
        model.max_seq_length = tokens if own is None else min(tokens, own)
    try:
        yield
    finally:
        model.max_seq_length = own


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


@contextmanager
def _restored(state: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], device)
        yield
