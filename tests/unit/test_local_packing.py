"""Texts behind one another: every token has its place, and attention sees no padding."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from embedsweep.backends.local.packed_attention import PackedAttention
from embedsweep.backends.local.packing import SLACK, SLACK_SHARE, Packing

HEADS, WIDTH = 2, 8
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30).map(sorted)


@given(LENGTHS)
def test_the_groups_cover_all_tokens_and_pad_little(lengths: list[int]) -> None:
    packing = Packing(lengths)
    assert np.concatenate([group.lengths for group in packing.groups]).tolist() == lengths
    assert [group.start for group in packing.groups[1:]] == [
        group.stop for group in packing.groups[:-1]
    ]
    assert packing.groups[-1].stop == sum(lengths) == len(packing.text_of)
    for group in packing.groups:
        assert group.length <= group.lengths[0] * (1 + SLACK_SHARE) + SLACK
        assert torch.equal(group.sources[group.places], torch.arange(len(group.places)))
    for text, (start, length) in enumerate(zip(packing.starts, lengths, strict=True)):
        rows = slice(int(start), int(start) + length)
        assert packing.text_of[rows].tolist() == [text] * length
        assert packing.positions[rows].tolist() == list(range(length))


def text_by_text(projected: Tensor, lengths: list[int]) -> Tensor:
    """Torch's own attention, one text at a time."""
    rows = []
    for text in projected.split(lengths):
        query, key, value = text.view(len(text), 3, HEADS, -1).permute(1, 2, 0, 3).unbind()
        attended = functional.scaled_dot_product_attention(query, key, value)
        rows.append(attended.transpose(0, 1).reshape(len(text), -1))
    return torch.cat(rows)


@settings(deadline=None, max_examples=50)
@given(LENGTHS)
def test_attention_and_its_gradient_are_those_of_each_text_alone(lengths: list[int]) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    projected = torch.randn(sum(lengths), 3 * WIDTH, generator=generator, dtype=torch.float64)
    above = torch.randn(sum(lengths), WIDTH, generator=generator, dtype=torch.float64)
    results = []
    for attend in (
        lambda rows: PackedAttention.apply(rows, Packing(lengths).groups, HEADS, 0.0, None),
        lambda rows: text_by_text(rows, lengths),
    ):
        rows = projected.clone().requires_grad_()
        attended = attend(rows)
        attended.backward(above)
        results.append((attended.detach(), rows.grad))
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_the_comparison_sees_a_text_that_looks_at_its_neighbour() -> None:
    """The control: two texts attended to as if they were one."""
    projected = torch.randn(7, 3 * WIDTH, generator=torch.Generator().manual_seed(0))
    alone = PackedAttention.apply(projected, Packing([3, 4]).groups, HEADS, 0.0, None)
    together = PackedAttention.apply(projected, Packing([7]).groups, HEADS, 0.0, None)
    assert torch.allclose(alone, text_by_text(projected, [3, 4]), atol=1e-5)
    assert not torch.allclose(together, alone, atol=1e-2)


def test_dropped_weights_drop_in_the_gradient_too() -> None:
    """By finite differences, with the same drops at every point."""
    lengths = [2, 3, 5]
    projected = torch.randn(
        10, 3 * WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    ).requires_grad_()

    def attended(rows: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        result: Tensor = PackedAttention.apply(rows, Packing(lengths).groups, HEADS, 0.3, generator)
        return result

    assert torch.autograd.gradcheck(attended, (projected,), atol=1e-6)
    assert not torch.allclose(attended(projected), text_by_text(projected, lengths))
