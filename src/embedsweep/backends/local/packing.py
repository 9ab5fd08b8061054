"""How the texts of a micro-batch lie behind one another, and which attention takes together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Lengths = npt.NDArray[np.int64]

STEPS = ((64, 16), (256, 32))
"""Attention pads a text of up to so many tokens to a multiple of so many: small enough to waste
little; large enough that softmax fills the processor's vectors (a row of 24 takes it three times
as long as one of 32) and that the kernels, which are compiled for every shape, come back."""

LAST_STEP = 64
"""The multiple that longer texts are padded to."""


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Texts that attention pads to the same length.

    Attributes:
        start: Row of the first text's first token, once all texts are padded.
        count: Texts.
        length: Rows of each.
        bias: Added to scores so that no query sees padding, (texts x heads, 1, length).
    """

    start: int
    count: int
    length: int
    bias: Tensor

    @property
    def stop(self) -> int:
        return self.start + self.count * self.length


class Packing:
    """The layout of a micro-batch: packed, and padded as attention takes it.

    Args:
        lengths: Tokens of each text, ascending.
        heads: Attention heads.
        precision: What attention computes in.

    Attributes:
        heads: Attention heads.
        lengths: Of the texts, (texts,).
        starts: Each text's first token, (texts,).
        text_of: The text each token belongs to, (tokens,).
        positions: Each token's place in its text, (tokens,).
        places: The padded row of each token, (tokens,).
        sources: The token of each padded row, (padded rows,); padding repeats the first.
        groups: They cover all padded rows, in order.
    """

    def __init__(self, lengths: Sequence[int], heads: int, precision: torch.dtype) -> None:
        sizes = np.asarray(lengths, dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        positions = np.arange(sizes.sum()) - np.repeat(starts, sizes)
        padded = _padded(sizes)
        places = np.repeat(np.cumsum(padded) - padded, sizes) + positions
        sources = np.zeros(padded.sum(), dtype=np.int64)
        sources[places] = np.arange(len(places))
        self.heads = heads
        self.lengths = torch.from_numpy(sizes)
        self.starts = torch.from_numpy(starts)
        self.text_of = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
        self.positions = torch.from_numpy(positions)
        self.places = torch.from_numpy(places)
        self.sources = torch.from_numpy(sources)
        self.groups = list(_groups(sizes, padded, heads, precision))


def _padded(lengths: Lengths) -> Lengths:
    steps = np.full_like(lengths, LAST_STEP)
    for longest, step in reversed(STEPS):
        steps[lengths <= longest] = step
    return -(-lengths // steps) * steps


def _groups(
    lengths: Lengths, padded: Lengths, heads: int, precision: torch.dtype
) -> Iterator[Group]:
    start = 0
    for length in np.unique(padded):
        own = lengths[padded == length]
        is_padding = torch.from_numpy(np.arange(length)[None, :] >= own[:, None])
        bias = torch.zeros(is_padding.shape, dtype=precision)
        bias = bias.masked_fill_(is_padding, float("-inf")).repeat_interleave(heads, dim=0)
        group = Group(start, len(own), int(length), bias.unsqueeze(1))
        yield group
        start = group.stop
