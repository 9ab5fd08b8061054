"""One training step of a packed BERT, on lanes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from embedsweep.backends.local.lanes import on_lanes
from embedsweep.backends.local.memory import free_memory
from embedsweep.backends.local.micro_batches import even_parts
from embedsweep.backends.local.packed_bert import PackedBert, TextRows, Weights

LANE_TOKENS = 4096
"""Forwarded together by each lane, about."""

MEMORY_SHARE = 0.5
"""Of the free memory, for what a backward pass needs; what needs more is forwarded twice."""


@dataclass(slots=True)
class _Part:
    """A micro-batch.

    Attributes:
        places: Of its texts in the step.
        seed: Of its drops, the same at both forward passes; None for no drops.
        pooled: Its vectors, and with them what their backward pass needs.
    """

    places: list[int]
    seed: int | None
    pooled: Tensor


@dataclass(slots=True)
class _Lane:
    """What one thread has of a step: leaves of its own for the weights, and its micro-batches."""

    weights: Weights
    parts: list[_Part] = field(default_factory=list)
    tokens: int = 0


class PackedStep:
    """Forward, then backward, each once.

    Args:
        bert: The network.
        texts: Token ids; the states of its frozen layers where it has any.
        mini_batch: Keep nothing for the backward pass and forward twice, at most so many texts at
            a time; None to do so only where memory does not suffice.
    """

    def __init__(
        self, bert: PackedBert, texts: Sequence[TextRows], mini_batch: int | None = None
    ) -> None:
        self._bert = bert
        lengths = [len(text) for text in texts]
        if bert.frozen:
            self._texts, self._weights = list(texts), bert.weights_above()
        else:
            tokens, numbers = np.unique(np.concatenate(texts), return_inverse=True)
            self._texts = np.split(numbers.astype(np.int32), np.cumsum(lengths)[:-1])
            self._weights = bert.weights_above(torch.from_numpy(tokens.astype(np.int64)))
        free = free_memory()
        need = sum(length * bert.bytes_kept(length) for length in lengths)
        short = free is not None and need > MEMORY_SHARE * free
        self._keeps = mini_batch is None and not short
        self._lanes = self._shared_out(lengths, mini_batch)

    def _shared_out(self, lengths: Sequence[int], mini_batch: int | None) -> list[_Lane]:
        """The micro-batches, each given to the lane that has the least to do."""
        lowered = self._weights.lowered(self._bert.precision)
        count = min(torch.get_num_threads(), len(lengths))
        lanes = [_Lane(lowered.map(_leaf)) for _ in range(count)]
        for places in reversed(even_parts(lengths, LANE_TOKENS, count, mini_batch)):
            lane = min(lanes, key=lambda lane: lane.tokens)
            lane.parts.append(_Part(places, None, torch.empty(0)))
            lane.tokens += sum(lengths[place] for place in places)
        return lanes

    def forward(self, *, drops: bool) -> Tensor:
        """Pooled vectors of all texts, in their order, (texts, width).

        Args:
            drops: Whether values are dropped; seeded from torch's default generator.
        """
        parts = [part for lane in self._lanes for part in lane.parts]
        if drops:
            for part, seed in zip(parts, torch.randint(2**62, (len(parts),)), strict=True):
                part.seed = int(seed)

        def forward(lane: _Lane) -> None:
            with torch.set_grad_enabled(self._keeps):
                for part in lane.parts:
                    part.pooled = self._pooled(lane, part)

        on_lanes(forward, self._lanes)
        order = np.argsort(np.concatenate([part.places for part in parts]))
        return torch.cat([part.pooled.detach() for part in parts])[torch.from_numpy(order)]

    def backward(self, gradient: Tensor) -> None:
        """Add the gradients to the parameters' own.

        Args:
            gradient: Of the loss, at the vectors that `forward` gave.
        """

        def backward(lane: _Lane) -> None:
            for part in lane.parts:
                pooled = part.pooled if self._keeps else self._pooled(lane, part)
                pooled.backward(gradient[part.places])  # type: ignore[no-untyped-call]
                part.pooled = pooled.detach()

        on_lanes(backward, self._lanes)
        sources, sums = [], []
        for source, *leaves in zip(
            self._weights, *(lane.weights for lane in self._lanes), strict=True
        ):
            if source.requires_grad:
                first, *others = (leaf.grad for leaf in leaves if leaf.grad is not None)
                sources.append(source)
                sums.append(sum(others, start=first.float()))
        torch.autograd.backward(sources, sums)

    def _pooled(self, lane: _Lane, part: _Part) -> Tensor:
        generator = None
        if part.seed is not None:
            generator = torch.Generator().manual_seed(part.seed)
        texts = [self._texts[place] for place in part.places]
        return self._bert.pooled(lane.weights, texts, generator)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)
