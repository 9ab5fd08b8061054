"""Gradients that float16 cannot hold come through scaled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from embedsweep.backends.local.loss_scale import FIRST_SCALE, GROWTH_INTERVAL, LossScale


def network(weight: nn.Parameter, seen: list[float]) -> Callable[[Tensor], None]:
    """Hands the gradient to a weight through float16, adding to what is there as torch does."""

    def through(gradient: Tensor) -> None:
        seen.append(float(gradient.abs().max()))
        step = gradient.half().float()
        weight.grad = step if weight.grad is None else weight.grad + step

    return through


def scaled(scale: LossScale, gradient: Tensor) -> tuple[Tensor, list[float]]:
    weight, seen = nn.Parameter(torch.zeros_like(gradient)), list[float]()
    scale.backward(gradient, [weight], network(weight, seen))
    assert weight.grad is not None
    return weight.grad, seen


def test_small_gradients_do_not_vanish() -> None:
    small = torch.full((3,), 2.0**-30)
    assert not small.half().any(), "the control: unscaled they vanish"
    gradient, seen = scaled(LossScale(), small)
    assert torch.equal(gradient, small)
    assert seen == [2.0**-30 * FIRST_SCALE]


def test_a_step_that_overflows_is_taken_again_with_half_the_scale() -> None:
    scale, large = LossScale(), torch.tensor([3.0, -1.0])
    assert torch.isinf((large * FIRST_SCALE).half()).any(), "the control: it overflows"
    gradient, seen = scaled(scale, large)
    assert torch.equal(gradient, large)
    assert seen == [3.0 * FIRST_SCALE, 3.0 * FIRST_SCALE / 2, 3.0 * FIRST_SCALE / 4]
    assert scale.scale == FIRST_SCALE / 4
    # The next step begins where this one ended.
    assert len(scaled(scale, large)[1]) == 1


def test_the_scale_grows_after_many_steps_without_overflow() -> None:
    scale, small = LossScale(), torch.full((1,), 2.0**-10)
    for _ in range(GROWTH_INTERVAL - 1):
        scaled(scale, small)
    assert scale.scale == FIRST_SCALE
    assert torch.equal(scaled(scale, small)[0], small)
    assert scale.scale == 2 * FIRST_SCALE


def test_what_overflows_unscaled_is_left_for_the_training_to_refuse() -> None:
    scale = LossScale()
    gradient, _ = scaled(scale, torch.tensor([1e6]))
    assert torch.isinf(gradient).all()
    assert scale.scale == 1


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_costs_no_retries(value: float) -> None:
    scale = LossScale()
    gradient, seen = scaled(scale, torch.tensor([value]))
    assert not torch.isfinite(gradient).any()
    assert len(seen) == 1
    assert scale.scale == FIRST_SCALE


def test_weights_without_gradients_are_passed_over() -> None:
    scale, used, unused = LossScale(), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    scale.backward(torch.ones(1), [used, unused], network(used, []))
    assert used.grad is not None
    assert unused.grad is None
