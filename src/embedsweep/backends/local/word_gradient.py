"""The gradient of a table of words, of which a step touches few rows."""

from __future__ import annotations

from typing import Protocol

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

    def rows(self, tokens: Tensor) -> Tensor:
        """Some of the table's rows, (tokens, width), whose gradient becomes a part of its own.

        Args:
            tokens: Their token ids, each once.
        """
        rows: Tensor = _Rows.apply(self._table, tokens, self)  # type: ignore[no-untyped-call]
        return rows

    def add(self, tokens: Tensor, rows: Tensor) -> None:
        """Add to the gradients of some rows.

        Args:
            tokens: Their token ids, each once.
            rows: What is added, (tokens, width).
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


class _Context(Protocol):
    """Autograd's context, with what the forward pass leaves for the backward pass."""

    tokens: Tensor
    gradient: WordGradient


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: _Context, table: Tensor, tokens: Tensor, gradient: WordGradient) -> Tensor:
        ctx.tokens, ctx.gradient = tokens, gradient
        return table[tokens]

    @staticmethod
    def backward(ctx: _Context, rows: Tensor) -> tuple[None, None, None]:
        # Returned, it would have to be as large as the table.
        ctx.gradient.add(ctx.tokens, rows)
        return None, None, None
