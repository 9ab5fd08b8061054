"""Any sentence-transformers model, forwarded as its own code does it, in micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedsweep.backends.local.micro_batches import micro_batches
from embedsweep.core.trial import TrialFailure

MICRO_BATCH_TOKENS = {"cpu": 2048, "mps": 16_384, "cuda": 65_536}
"""Padded tokens forwarded together, by device: on a processor, what stays near its caches."""

MINI_BATCH = 32
"""Texts forwarded at a time once memory ran out."""

CHARACTERS_PER_TOKEN = 4
"""Of English text, about; it only decides which texts share a micro-batch."""


class PaddedModel:
    """Forwards texts of like length together, padded to the longest of them.

    Args:
        model: The model; whether it drops values follows its training mode.
        precision: What matrices are multiplied in.
        limit: Tokens read of a text, special ones included, where that is less than the model's
            own limit; None for that.
    """

    def __init__(
        self, model: SentenceTransformer, precision: torch.dtype, limit: int | None
    ) -> None:
        self._model = model
        self._precision = precision
        self._short = False
        own = model.max_seq_length
        self._limit = limit if own is None or limit is None else min(limit, own)

    def prepare(self, texts: Iterable[str]) -> None:
        """Nothing: texts are tokenized where they are forwarded."""

    def backward(
        self,
        texts: Sequence[str],
        objective: Callable[[Tensor], Tensor],
        mini_batch: int | None = None,
    ) -> Tensor:
        """See `PackedModel.backward`; memory that does not suffice shows by running out."""
        if mini_batch is None and not self._short:
            try:
                return self._kept(texts, objective)
            except torch.OutOfMemoryError:
                # This batch's gradients are begun anew, and the rest of the training needs less.
                self._short = True
                self._model.zero_grad(set_to_none=True)
        return self._forwarded_twice(texts, objective, mini_batch or MINI_BATCH)

    def _kept(self, texts: Sequence[str], objective: Callable[[Tensor], Tensor]) -> Tensor:
        with self._computing():
            vectors = self._forward(texts)
        loss = objective(vectors)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def _forwarded_twice(
        self, texts: Sequence[str], objective: Callable[[Tensor], Tensor], mini_batch: int
    ) -> Tensor:
        device = self._model.device
        starts = range(0, len(texts), mini_batch)
        pieces = [texts[start : start + mini_batch] for start in starts]
        states, parts = [], []
        with torch.no_grad(), self._computing():
            for piece in pieces:
                states.append(_random_state(device))
                parts.append(self._forward(piece))
        vectors = torch.cat(parts).requires_grad_()
        loss = objective(vectors)
        loss.backward()  # type: ignore[no-untyped-call]
        if vectors.grad is None:
            raise TrialFailure("no_gradient", "the loss does not depend on the vectors")
        gradients = torch.split(vectors.grad, mini_batch)
        for piece, state, gradient in zip(pieces, states, gradients, strict=True):
            with _restored(state, device), self._computing():
                again = self._forward(piece)
            again.backward(gradient)  # type: ignore[no-untyped-call]
        return loss

    def _forward(self, texts: Sequence[str]) -> Tensor:
        batches = alike_in_length(texts, self._model)
        vectors = torch.cat([self._vectors([texts[place] for place in some]) for some in batches])
        return vectors[torch.from_numpy(np.argsort(np.concatenate(batches))).to(vectors.device)]

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        features = {
            name: value.to(self._model.device, non_blocking=True)
            if isinstance(value, Tensor)
            else value
            for name, value in self._model.preprocess(list(texts)).items()
        }
        vectors: Tensor = self._model(features)["sentence_embedding"]
        return vectors.float()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Reads to the limit and multiplies in the precision; each weight is lowered once."""
        own = self._model.max_seq_length
        if self._limit is not None:
            self._model.max_seq_length = self._limit
        try:
            with autocast(self._model, self._precision):
                yield
        finally:
            self._model.max_seq_length = own


def autocast(model: SentenceTransformer, precision: torch.dtype) -> torch.autocast:
    """Multiplies matrices in the precision while it lasts; float32 changes nothing."""
    return torch.autocast(model.device.type, precision, enabled=precision != torch.float32)


def alike_in_length(texts: Sequence[str], model: SentenceTransformer) -> list[list[int]]:
    """Places of the texts, those of like length together, so that little is padding."""
    budget = MICRO_BATCH_TOKENS[model.device.type]
    longest = model.max_seq_length or budget
    lengths = [min(len(text) // CHARACTERS_PER_TOKEN + 2, longest) for text in texts]
    return micro_batches(lengths, budget)


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
