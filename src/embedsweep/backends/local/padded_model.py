"""Any sentence-transformers model, forwarded as its own code does it, in micro-batches.

Its attention is torch's ``scaled_dot_product_attention`` wherever its class supports that: the
transformers library chooses so by itself, and torch then takes a flash kernel where there is one.

It is not compiled. Compiling takes from seconds to minutes and again for other kinds of shapes,
as torch's documentation says ("Reducing Compile Time"), which a trial of some hundred steps does
not earn back and every trial of a sweep would pay anew; and the compiler of torch 2.13 reads TF32
by the older interface, which raises while `tf32_products` lasts (pytorch issues 166387, 189955).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.devices import tf32_products
from embedsweep.backends.local.loss_scale import LossScale
from embedsweep.backends.local.text_features import TextFeatures
from embedsweep.backends.local.token_budget import (
    alike_groups,
    micro_batch_tokens,
    padded_tokens,
)
from embedsweep.core.trial import TrialFailure


@dataclass(slots=True)
class _Part:
    """A micro-batch.

    Attributes:
        texts: Padded to the longest of them.
        states: Of the random generators before its drops.
        vectors: What its backward pass needs hangs on them; None where nothing was kept.
    """

    texts: list[str]
    states: tuple[Tensor, Tensor | None]
    vectors: Tensor | None


class PaddedModel:
    """Forwards texts of like length together, padded to the longest of them.

    In float16 gradients are scaled on their way (`LossScale`), and a model whose vectors overflow
    goes on in float32. Where memory runs out, the step is begun anew with less: first by
    forwarding twice, then in micro-batches of half the tokens.

    Args:
        model: The model; whether it drops values follows its training mode.
        precision: What matrices are multiplied in; what is left in float32 may be in TF32.
        limit: Tokens read of a text, special ones included, where that is less than the model's
            own limit; None for that.
        store: Where token ids are kept; None for nowhere.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        precision: torch.dtype,
        limit: int | None,
        store: ArrayStore | None = None,
    ) -> None:
        self._model = model
        self._precision = precision
        self._features = TextFeatures(model, limit, store)
        self._scale = LossScale()
        self._short = False
        self._budget: int | None = None

    def prepare(self, texts: Iterable[str]) -> None:
        """Tokenize texts that `backward` will forward, all at once; others it tokenizes itself."""
        self._features.prepare(texts)

    def backward(
        self,
        texts: Sequence[str],
        objective: Callable[[Tensor], Tensor],
        mini_batch: int | None = None,
    ) -> Tensor:
        """See `PackedModel.backward`; memory that does not suffice shows by running out.

        Raises:
            torch.OutOfMemoryError: Memory does not suffice for one text at a time.
        """
        lengths = self._features.lengths(texts)
        if self._budget is None:
            # Once, for with other groups the drops and the order of sums are others.
            self._budget = micro_batch_tokens(self._model, self._precision)
        while True:
            groups = alike_groups(lengths, self._budget, mini_batch)
            keeps = mini_batch is None and not self._short
            try:
                return self._step(texts, groups, objective, keeps=keeps)
            except torch.OutOfMemoryError:
                if not keeps and len(groups) == len(texts):
                    raise
            # Out here the error holds the failed step's tensors no longer.
            self._model.zero_grad(set_to_none=True)
            self._short = True
            if not keeps:
                # One text alone cannot be made less of, and must not hold up the others.
                several = (group for group in groups if len(group) > 1)
                self._budget = max(padded_tokens(lengths, group) for group in several) // 2

    def _step(
        self,
        texts: Sequence[str],
        groups: list[list[int]],
        objective: Callable[[Tensor], Tensor],
        *,
        keeps: bool,
    ) -> Tensor:
        parts, rows = self._forwarded(
            [[texts[place] for place in group] for group in groups], keeps
        )
        order = torch.from_numpy(np.concatenate(groups)).to(rows.device)
        vectors = torch.empty_like(rows)
        vectors[order] = rows
        vectors.requires_grad_()
        loss = objective(vectors)
        # What the objective trains of its own gets its gradients last, when nothing can fail that
        # would call it again.
        (gradient,) = torch.autograd.grad(loss, vectors, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise TrialFailure("no_gradient", "the loss does not depend on the vectors")

        def through(gradient: Tensor) -> None:
            for part, rows in zip(parts, torch.split(gradient[order], sizes), strict=True):
                self._through(part, rows)

        sizes = [len(group) for group in groups]
        if self._precision == torch.float16:
            trained = [each for each in self._model.parameters() if each.requires_grad]
            self._scale.backward(gradient, trained, through)
        else:
            through(gradient)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def _forwarded(self, groups: list[list[str]], keeps: bool) -> tuple[list[_Part], Tensor]:
        """Micro-batches, and the vectors of all of them, detached."""
        device, parts, rows = self._model.device, [], []
        with torch.set_grad_enabled(keeps), self._computing():
            for texts in groups:
                part = _Part(texts, _random_states(device), None)
                vectors = self._vectors(texts)
                part.vectors = vectors if keeps else None
                parts.append(part)
                rows.append(vectors.detach())
        every = torch.cat(rows)
        if self._precision == torch.float16 and not bool(torch.isfinite(every).all()):
            self._precision = torch.float32
            parts.clear()
            return self._forwarded(groups, keeps)
        return parts, every

    def _through(self, part: _Part, gradient: Tensor) -> None:
        """Add what a micro-batch gives to the parameters' gradients; what it kept is used up."""
        vectors, part.vectors = part.vectors, None
        if vectors is None:
            with _restored(part.states, self._model.device), self._computing():
                vectors = self._vectors(part.texts)
        with tf32_products(self._model.device.type):
            vectors.backward(gradient)  # type: ignore[no-untyped-call]

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        vectors: Tensor = self._model(self._features.of(texts))["sentence_embedding"]
        return vectors.float()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Multiplies in the precision; each weight is lowered once."""
        device = self._model.device.type
        with (
            tf32_products(device),
            torch.autocast(device, self._precision, enabled=self._precision != torch.float32),
        ):
            yield


@contextmanager
def autocast(model: SentenceTransformer, precision: torch.dtype) -> Iterator[None]:
    """Multiplies matrices in the precision while it lasts; float32 changes nothing.

    A lower precision lets a GPU multiply in TF32 what stays in float32.
    """
    device, lowers = model.device.type, precision != torch.float32
    with (
        tf32_products(device if lowers else "cpu"),
        torch.autocast(device, precision, enabled=lowers),
    ):
        yield


def _random_states(device: torch.device) -> tuple[Tensor, Tensor | None]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda


@contextmanager
def _restored(states: tuple[Tensor, Tensor | None], device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.set_rng_state(states[0])
        if states[1] is not None:
            torch.cuda.set_rng_state(states[1], device)
        yield
