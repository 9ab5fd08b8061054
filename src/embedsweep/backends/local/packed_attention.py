"""Self-attention over texts that lie behind one another without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from embedsweep.backends.local.dropout import dropout_factors
from embedsweep.backends.local.packing import Group


class _Context(Protocol):
    """Autograd's context, with what the forward pass leaves for the backward pass."""

    groups: Sequence[Group]
    heads: int

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class PackedAttention(torch.autograd.Function):
    """Softmax attention within each text; texts of like length are multiplied together.

    Plain products: the backward pass of torch's flash kernel is slower on a processor at the
    lengths of sentences and paragraphs.
    """

    @staticmethod
    def forward(
        ctx: _Context,
        projected: Tensor,
        groups: Sequence[Group],
        heads: int,
        drop: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Attended values, (tokens, width).

        Args:
            ctx: Autograd's.
            projected: Queries, keys and values side by side, (tokens, 3 x width).
            groups: What lies where; they cover all tokens.
            heads: Attention heads.
            drop: Share of the attention weights dropped; 0 for none.
            generator: Whom the drops are drawn from; not needed where there are none.
        """
        width = projected.shape[1] // 3
        attended = projected.new_empty(len(projected), width)
        weights, factors = [], []
        for group in groups:
            query, key, value = _heads(projected, group, heads)
            turned, scale = key.transpose(1, 2), query.shape[2] ** -0.5
            if group.is_even:
                scores = torch.baddbmm(query.new_empty(1), query, turned, beta=0, alpha=scale)
            else:
                bias = group.bias(heads, query.dtype)
                scores = torch.baddbmm(bias, query, turned, alpha=scale)
            weight = torch.softmax(scores, dim=2)
            weights.append(weight)
            if drop and generator is not None:
                shape = tuple(weight.shape)
                factors.append(dropout_factors(shape, drop, generator, weight.dtype))
                weight = weight * factors[-1]
            _put(attended, group, heads, weight @ value)
        ctx.save_for_backward(projected, *weights, *factors)
        ctx.groups, ctx.heads = groups, heads
        return attended

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        projected, *saved = ctx.saved_tensors
        groups, heads = ctx.groups, ctx.heads
        factors: Sequence[Tensor | None] = saved[len(groups) :] or [None] * len(groups)
        result = torch.empty_like(projected)
        parts = result.chunk(3, dim=1)
        for group, weight, factor in zip(groups, saved[: len(groups)], factors, strict=True):
            query, key, value = _heads(projected, group, heads)
            above = _taken(gradient, group, heads)
            into_weight = above @ value.transpose(1, 2)
            used = weight
            if factor is not None:
                used = weight * factor
                into_weight.mul_(factor)
            into_scores = torch._softmax_backward_data(into_weight, weight, 2, weight.dtype)
            empty, scale = query.new_empty(1), query.shape[2] ** -0.5
            into_query = torch.baddbmm(empty, into_scores, key, beta=0, alpha=scale)
            turned = into_scores.transpose(1, 2)
            into_key = torch.baddbmm(empty, turned, query, beta=0, alpha=scale)
            into_value = used.transpose(1, 2) @ above
            for part, values in zip(parts, (into_query, into_key, into_value), strict=True):
                _put(part, group, heads, values)
        return result, None, None, None, None


def _heads(projected: Tensor, group: Group, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a group, each (texts x heads, length, width / heads)."""
    rows = projected[group.start : group.stop]
    if not group.is_even:
        rows = rows.index_select(0, group.sources)
    turned = rows.view(group.count, group.length, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = turned.reshape(3, group.count * heads, group.length, -1).unbind()
    return query, key, value


def _taken(rows: Tensor, group: Group, heads: int) -> Tensor:
    """A group's rows, (tokens, width), as (texts x heads, length, width / heads)."""
    own = rows[group.start : group.stop]
    if not group.is_even:
        # What stands where padding stood counts for nothing.
        padded = own.new_zeros(group.count * group.length, own.shape[1])
        own = padded.index_copy_(0, group.places, own)
    turned = own.view(group.count, group.length, heads, -1).transpose(1, 2)
    return turned.reshape(group.count * heads, group.length, -1)


def _put(rows: Tensor, group: Group, heads: int, values: Tensor) -> None:
    """The inverse of `_taken`, into the group's place."""
    turned = values.view(group.count, heads, group.length, -1).transpose(1, 2)
    own = rows[group.start : group.stop]
    if group.is_even:
        own.view(turned.shape).copy_(turned)
    else:
        padded = turned.reshape(group.count * group.length, -1)
        own.copy_(padded.index_select(0, group.places))
