"""Self-attention over texts that lie behind one another without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from embedsweep.backends.local.dropout import dropout_factors
from embedsweep.backends.local.packing import Group, Packing


class _Context(Protocol):
    """Autograd's context, with what the forward pass leaves for the backward pass."""

    packing: Packing

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class PackedAttention(torch.autograd.Function):
    """Softmax attention within each text; texts of like length are padded and taken together.

    Few and large operations: between any two of them a lane may have to wait for the interpreter.
    Plain products: the backward pass of torch's flash kernel is slower on a processor at the
    lengths of sentences and paragraphs.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        projected: Tensor,
        packing: Packing,
        drop: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Attended values, (tokens, width).

        Args:
            ctx: Autograd's.
            projected: Queries, keys and values side by side, (tokens, 3 x width), in the precision
                of the packing.
            packing: What lies where.
            drop: Share of the attention weights dropped; 0 for none.
            generator: Whom the drops are drawn from; not needed where there are none.
        """
        padded = projected.index_select(0, packing.sources)
        attended = padded.new_empty(len(padded), padded.shape[1] // 3)
        weights, factors = [], []
        for group in packing.groups:
            query, key, value = _heads(padded, group, packing.heads)
            scale = query.shape[2] ** -0.5
            scores = torch.baddbmm(group.bias, query, key.transpose(1, 2), alpha=scale)
            weight = torch.softmax(scores, dim=2)
            weights.append(weight)
            if drop and generator is not None:
                shape = tuple(weight.shape)
                factors.append(dropout_factors(shape, drop, generator, weight.dtype))
                weight = weight * factors[-1]
            _put(attended, group, packing.heads, weight @ value)
        ctx.save_for_backward(projected, *weights, *factors)
        ctx.packing = packing
        return attended.index_select(0, packing.places)

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        projected, *saved = ctx.saved_tensors
        packing = ctx.packing
        groups = packing.groups
        factors: Sequence[Tensor | None] = saved[len(groups) :] or [None] * len(groups)
        padded = projected.index_select(0, packing.sources)
        # What stands where padding stands counts for nothing.
        above = gradient.new_zeros(len(padded), gradient.shape[1])
        above.index_copy_(0, packing.places, gradient)
        result = torch.empty_like(padded)
        parts = result.chunk(3, dim=1)
        for group, weight, factor in zip(groups, saved[: len(groups)], factors, strict=True):
            query, key, value = _heads(padded, group, packing.heads)
            own = _taken(above, group, packing.heads)
            into_weight = own @ value.transpose(1, 2)
            used = weight
            if factor is not None:
                used = weight * factor
                into_weight.mul_(factor)
            into_scores = torch._softmax_backward_data(into_weight, weight, 2, weight.dtype)
            empty, scale = query.new_empty(1), query.shape[2] ** -0.5
            into_query = torch.baddbmm(empty, into_scores, key, beta=0, alpha=scale)
            turned = into_scores.transpose(1, 2)
            into_key = torch.baddbmm(empty, turned, query, beta=0, alpha=scale)
            into_value = used.transpose(1, 2) @ own
            for part, values in zip(parts, (into_query, into_key, into_value), strict=True):
                _put(part, group, packing.heads, values)
        return result.index_select(0, packing.places), None, None, None


def _heads(padded: Tensor, group: Group, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a group, each (texts x heads, length, width / heads)."""
    own = padded[group.start : group.stop]
    turned = own.view(group.count, group.length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = turned.reshape(3, group.count * heads, group.length, -1).unbind()
    return query, key, value


def _taken(padded: Tensor, group: Group, heads: int) -> Tensor:
    """A group's rows, (padded rows, width), as (texts x heads, length, width / heads)."""
    own = padded[group.start : group.stop]
    turned = own.view(group.count, group.length, heads, -1).transpose(1, 2)
    return turned.reshape(group.count * heads, group.length, -1)


def _put(padded: Tensor, group: Group, heads: int, values: Tensor) -> None:
    """The inverse of `_taken`, into the group's rows."""
    own = padded[group.start : group.stop]
    turned = values.view(group.count, heads, group.length, -1).transpose(1, 2)
    own.view(turned.shape).copy_(turned)
