"""The gradient of the table of words is whole and new at every step, in memory that is kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from embedsweep.backends.local.word_gradient import WordGradient


def table() -> nn.Parameter:
    return nn.Parameter(torch.zeros(5, 2))


def rows(value: float, count: int) -> Tensor:
    return torch.full((count, 2), float(value))


def test_nothing_of_an_earlier_step_is_left() -> None:
    words = table()
    gradient = WordGradient(words)
    gradient.add(torch.tensor([0, 3]), rows(1, 2))
    assert words.grad is not None
    first = words.grad.data_ptr()
    assert words.grad[:, 0].tolist() == [1, 0, 0, 1, 0]
    words.grad = None
    gradient.add(torch.tensor([1]), rows(2, 1))
    assert words.grad is not None
    assert words.grad[:, 0].tolist() == [0, 2, 0, 0, 0]
    assert words.grad.data_ptr() == first


def test_gradients_add_up_within_a_step() -> None:
    words = table()
    gradient = WordGradient(words)
    gradient.add(torch.tensor([0, 3]), rows(1, 2))
    gradient.add(torch.tensor([3, 4]), rows(2, 2))
    assert words.grad is not None
    assert words.grad[:, 0].tolist() == [1, 0, 0, 3, 2]
    words.grad = None
    gradient.add(torch.tensor([1]), rows(1, 1))
    assert words.grad[:, 0].tolist() == [0, 1, 0, 0, 0]


def test_a_gradient_of_someone_elses_is_added_to_and_left_alone() -> None:
    words = table()
    theirs = torch.ones(5, 2)
    words.grad = theirs
    gradient = WordGradient(words)
    gradient.add(torch.tensor([0]), rows(1, 1))
    assert words.grad is theirs
    assert theirs[:, 0].tolist() == [2, 1, 1, 1, 1]
    words.grad = None
    gradient.add(torch.tensor([2]), rows(1, 1))
    assert theirs[:, 0].tolist() == [2, 1, 1, 1, 1]
    assert words.grad[:, 0].tolist() == [0, 0, 1, 0, 0]


def test_the_rows_gradient_becomes_the_tables() -> None:
    words = nn.Parameter(torch.arange(10.0).view(5, 2))
    taken = WordGradient(words).rows(torch.tensor([3, 1]))
    assert taken.tolist() == [[6, 7], [2, 3]]
    (taken * torch.tensor([[1.0], [2.0]])).sum().backward()
    assert words.grad is not None
    assert words.grad[:, 0].tolist() == [0, 2, 0, 1, 0]


def test_a_frozen_table_gets_no_gradient() -> None:
    words = table().requires_grad_(requires_grad=False)
    assert not WordGradient(words).rows(torch.tensor([3])).requires_grad
