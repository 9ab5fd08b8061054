"""How the texts of a micro-batch lie behind one another, and which attention takes together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SLACK_SHARE, SLACK = 1 / 4, 2
"""A group's longest text has at most so many more tokens than its shortest. Attention over a few
padded groups takes less time than over many exact ones: its products are small, and many."""


@dataclass(frozen=True)
class Group:
    """Texts of like length that lie behind one another.

    Attributes:
        start: First token of the first text, in the packing.
        lengths: Tokens of each text, ascending.
    """

    start: int
    lengths: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.lengths)

    @property
    def length(self) -> int:
        """Of the longest text, to which attention pads the others."""
        return int(self.lengths[-1])

    @property
    def is_even(self) -> bool:
        return bool(self.lengths[0] == self.lengths[-1])

    @cached_property
    def stop(self) -> int:
        return self.start + int(self.lengths.sum())

    @cached_property
    def places(self) -> Tensor:
        """Where each token of the group stands once the texts are padded, (tokens,)."""
        return torch.from_numpy(np.flatnonzero(self._is_token))

    @cached_property
    def sources(self) -> Tensor:
        """The token of the group that stands at each padded place; padding repeats the first."""
        tokens = np.cumsum(self._is_token) - 1
        return torch.from_numpy(np.where(self._is_token, tokens, 0))

    def bias(self, heads: int, dtype: torch.dtype) -> Tensor:
        """What is added to scores so that no query sees padding, (texts x heads, 1, length)."""
        is_token = torch.from_numpy(self._is_token.reshape(self.count, self.length))
        bias = torch.where(is_token, 0.0, float("-inf")).to(dtype)
        return bias.repeat_interleave(heads, dim=0).unsqueeze(1)

    @cached_property
    def _is_token(self) -> npt.NDArray[np.bool_]:
        rows: npt.NDArray[np.bool_] = np.arange(self.length)[None, :] < self.lengths[:, None]
        return rows.ravel()


class Packing:
    """The layout of a micro-batch.

    Args:
        lengths: Tokens of each text, ascending.

    Attributes:
        groups: They cover all tokens, in order.
        lengths: Of the texts, (texts,).
        starts: Each text's first token, (texts,).
        text_of: The text each token belongs to, (tokens,).
        positions: Each token's place in its text, (tokens,).
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        sizes = np.asarray(lengths, dtype=np.int64)
        starts = np.cumsum(sizes) - sizes
        self.groups = _groups(sizes)
        self.lengths = torch.from_numpy(sizes)
        self.starts = torch.from_numpy(starts)
        self.text_of = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
        self.positions = torch.from_numpy(np.arange(sizes.sum()) - np.repeat(starts, sizes))


def _groups(lengths: npt.NDArray[np.int64]) -> list[Group]:
    groups: list[Group] = []
    start = first = 0
    while first < len(lengths):
        most = lengths[first] * (1 + SLACK_SHARE) + SLACK
        after = int(np.searchsorted(lengths, most, side="right"))
        groups.append(Group(start, lengths[first:after]))
        start, first = groups[-1].stop, after
    return groups
