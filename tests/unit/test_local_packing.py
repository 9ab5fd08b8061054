"""Texts behind one another: every token has its place, and attention sees no padding."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from embedsweep.backends.local.packed_attention import PackedAttention
from embedsweep.backends.local.packing import Packing

HEADS, WIDTH = 2, 8
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30).map(sorted)


def packed(lengths: list[int]) -> Packing:
    return Packing(lengths, HEADS, torch.float64)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=30).map(sorted))
def test_every_token_has_its_place_and_attention_pads_to_few_lengths(lengths: list[int]) -> None:
    packing = packed(lengths)
    assert torch.equal(packing.sources[packing.places], torch.arange(sum(lengths)))
    assert packing.groups[0].start == 0
    assert [group.start for group in packing.groups[1:]] == [
        group.stop for group in packing.groups[:-1]
    ]
    assert packing.groups[-1].stop == len(packing.sources)
    for group in packing.groups:
        assert group.length in {16, 32, 48, 64, *range(96, 257, 32), *range(320, 705, 64)}
    rows = [group.length for group in packing.groups for _ in range(group.count)]
    for text, (start, length, padded) in enumerate(zip(packing.starts, lengths, rows, strict=True)):
        assert length <= padded < max(length + 64, 2 * length + 16)
        own = slice(int(start), int(start) + length)
        assert packing.text_of[own].tolist() == [text] * length
        assert packing.positions[own].tolist() == list(range(length))


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
        lambda rows: PackedAttention.apply(rows, packed(lengths), 0.0, None),
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
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(7, 3 * WIDTH, generator=generator, dtype=torch.float64)
    alone = PackedAttention.apply(projected, packed([3, 4]), 0.0, None)
    together = PackedAttention.apply(projected, packed([7]), 0.0, None)
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
        result: Tensor = PackedAttention.apply(rows, packed(lengths), 0.3, generator)
        return result

    assert torch.autograd.gradcheck(attended, (projected,), atol=1e-6)
    assert not torch.allclose(attended(projected), text_by_text(projected, lengths))
