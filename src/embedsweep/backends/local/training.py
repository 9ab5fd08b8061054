"""The training loop of a local recipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional

from embedsweep.backends import losses
from embedsweep.backends.local.encoder import LocalEmbedder, TrainingEncoder
from embedsweep.backends.rows import Batch, Rows, class_names
from embedsweep.core.dataset import TextRole, TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.core.trial import TrialFailure

GRADIENT_NORM = 1.0
"""Gradients are scaled down to this norm, as transformers' trainer does by default."""


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
        self._rows = Rows(data, recipe.loss.needs, recipe.batch_size, recipe.seed)
        self.total_steps = self._rows.steps_per_epoch * recipe.epochs
        self._prototypes: nn.Parameter | None = None
        if recipe.loss is Loss.SOFTMAX:
            self._prototypes = nn.Parameter(_class_means(model, data))
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, self._prototypes, recipe.weight_decay),
            lr=recipe.learning_rate,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._rate)

    def run(self, listener: TrainingListener) -> None:
        """Train all epochs; raises `TrialFailure` as soon as a loss or a weight is not finite."""
        done = 0
        for epoch in range(self._recipe.epochs):
            total = 0.0
            self._model.train()
            with _read_at_most(self._model, self._recipe.train_tokens):
                for batch in self._rows.epoch(epoch):
                    total += self._step(batch)
                    done += 1
                    listener.on_step(done, self.total_steps)
            self._model.eval()
            _refuse_non_finite_weights(self._model)
            mean = total / self._rows.steps_per_epoch
            end = EpochEnd(epoch + 1, {"train/loss": mean}, LocalEmbedder(self._model))
            listener.on_epoch(end)

    def _rate(self, step: int) -> float:
        """Share of the peak rate: a linear climb over the warm-up, then a linear fall to zero."""
        warmup = max(1, round(self._recipe.warmup * self.total_steps))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return max(0.0, (self.total_steps - step) / max(1, self.total_steps - warmup))

    def _step(self, batch: Batch) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        if self._recipe.loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING:
            loss = self._cached_backward(batch)
        else:
            with self._encoder.autocast():
                vectors = self._encoder.forward(*_flattened(batch))
            loss = self._loss(vectors, batch)
            loss.backward()  # type: ignore[no-untyped-call]
        value = float(loss.detach())
        if not np.isfinite(value):
            _refuse_non_finite_weights(self._model)
            raise TrialFailure("non_finite_loss", f"the training loss became {value}")
        nn.utils.clip_grad_norm_(self._model.parameters(), GRADIENT_NORM)
        self._optimizer.step()
        self._schedule.step()
        return value

    def _cached_backward(self, batch: Batch) -> Tensor:
        """Gradients of a large batch in the memory of a small one.

        Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
        Setup": forward without gradients in mini-batches, take the loss's gradient at the
        vectors, then forward each mini-batch again, with the same dropout, to carry it on.
        """
        texts, roles = _flattened(batch)
        size = int(self._recipe.knob("mini_batch_size"))
        slices = [slice(start, start + size) for start in range(0, len(texts), size)]
        states, parts = [], []
        with torch.no_grad(), self._encoder.autocast():
            for piece in slices:
                states.append(_random_state(self._model.device))
                parts.append(self._encoder.forward(texts[piece], roles[piece]))
        vectors = torch.cat(parts).requires_grad_()
        loss = self._loss(vectors, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = vectors.grad
        if gradient is None:
            raise TrialFailure("no_gradient", "the loss does not depend on the vectors")
        for piece, state in zip(slices, states, strict=True):
            with _restored(state, self._model.device), self._encoder.autocast():
                again = self._encoder.forward(texts[piece], roles[piece])
            again.backward(gradient[piece])  # type: ignore[no-untyped-call]
        return loss

    def _loss(self, vectors: Tensor, batch: Batch) -> Tensor:
        columns = torch.split(vectors, [len(column) for column in batch.columns])
        first, second = columns[0], columns[-1]
        targets = torch.tensor(batch.targets, device=vectors.device)
        knob = self._recipe.knob
        match self._recipe.loss:
            case Loss.MULTIPLE_NEGATIVES_RANKING | Loss.CACHED_MULTIPLE_NEGATIVES_RANKING:
                blocked = _blocked(batch, vectors)
                return losses.multiple_negatives_ranking(first, second, blocked, knob("scale"))
            case Loss.BATCH_HARD_TRIPLET:
                blocked = _blocked(batch, vectors)
                return losses.batch_hard_triplet(first, second, blocked, knob("margin"))
            case Loss.TRIPLET:
                return losses.triplet(first, columns[1], second, knob("margin"))
            case Loss.CONTRASTIVE:
                return losses.contrastive(first, second, targets, knob("margin"))
            case Loss.ONLINE_CONTRASTIVE:
                return losses.online_contrastive(first, second, targets, knob("margin"))
            case Loss.COSENT:
                return losses.cosent(first, second, targets, knob("scale"))
            case Loss.COSINE_SIMILARITY:
                return losses.cosine_similarity(first, second, targets)
            case Loss.SOFTMAX:
                prototypes = self._class_prototypes()
                return losses.softmax(first, prototypes, targets.long(), knob("scale"))

    def _class_prototypes(self) -> Tensor:
        if self._prototypes is None:
            raise TrialFailure("no_prototypes", "only the softmax loss learns class prototypes")
        return self._prototypes


def _flattened(batch: Batch) -> tuple[list[str], list[TextRole]]:
    texts = [text for column in batch.columns for text in column]
    roles = [role for column, role in zip(batch.columns, batch.roles, strict=True) for _ in column]
    return texts, roles


def _blocked(batch: Batch, vectors: Tensor) -> Tensor:
    return torch.as_tensor(batch.blocked, device=vectors.device)


def _class_means(model: SentenceTransformer, data: TrainingSet) -> Tensor:
    """Where the prototypes begin: the mean vector of each class, in the order of `class_names`.

    From there a fine-tuning rate suffices; from random prototypes it would not move them.
    """
    vectors = torch.from_numpy(LocalEmbedder(model).embed([row.text for row in data.texts]))
    place = {label: index for index, label in enumerate(class_names(data))}
    classes = torch.tensor([place[row.label] for row in data.texts])
    sums = torch.zeros(len(place), vectors.shape[1]).index_add_(0, classes, vectors)
    return functional.normalize(sums, dim=1).to(model.device)


def _parameter_groups(
    model: nn.Module, prototypes: nn.Parameter | None, weight_decay: float
) -> list[dict[str, object]]:
    """Matrices decay; vectors (biases, layer norms) and prototypes do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.dim() > 1]
    kept = [parameter for parameter in trained if parameter.dim() <= 1]
    if prototypes is not None:
        kept.append(prototypes)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]


def _refuse_non_finite_weights(model: nn.Module) -> None:
    for name, weights in model.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise TrialFailure("non_finite_weights", f"{name} holds NaN or infinity")


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
