"""The gradient of a table of words, of which a step touches few rows."""

from __future__ import annotations

import torch
from torch import Tensor


class WordGradient:
    """Adds to the table's dense gradient in memory that is kept from step to step.

    A new gradient for every step would have to be cleared whole, though all but some hundred of
    its rows are zero: on a processor a tenth of a small step.

    Args:
        table: One row per token id.
    """

    def __init__(self, table: Tensor) -> None:
        self._table = table
        self._memory: Tensor | None = None
        self._touched: list[Tensor] = []

    def add(self, tokens: Tensor, rows: Tensor) -> None:
        """Add gradients to some rows of the table's own.

        Args:
            tokens: Their token ids, each once.
            rows: The gradients, (tokens, width).
        """
        if self._memory is None:
            self._memory = torch.zeros_like(self._table)
        if self._table.grad is None:
            for touched in self._touched:
                self._memory.index_fill_(0, touched, 0.0)
            self._touched = []
            self._table.grad = self._memory
        if self._table.grad is self._memory:
            self._touched.append(tokens)
        self._table.grad.index_add_(0, tokens, rows)
