"""The average of weights over the tail of the steps so far."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from embedsweep.backends.averaging import DECAY, LOOK_EVERY, LOOKS_APART, TailAverage


def walked(steps: int, shown_after: Sequence[int] = ()) -> tuple[list[float], list[float]]:
    """Where a weight was after each step, and the averages shown on the way."""
    generator = torch.Generator().manual_seed(3)
    weight = nn.Parameter(torch.zeros(1))
    average = TailAverage([weight])
    went, shown = [], []
    for step in range(1, steps + 1):
        average.hide()
        with torch.no_grad():
            weight += torch.randn(1, generator=generator) + 0.1
        went.append(weight.item())
        average.step()
        if step in shown_after:
            average.show()
            shown.append(weight.item())
    return went, shown


def looked_at(steps: int) -> list[int]:
    """The steps that count, as the rule says, and the last one, which is shown."""
    seen = [0]
    for step in range(1, steps + 1):
        if step - seen[-1] >= max(LOOK_EVERY, step * LOOKS_APART):
            seen.append(step)
    return seen[1:] if seen[-1] == steps else [*seen[1:], steps]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 100, 1000])
def test_it_is_the_mean_of_what_was_seen_each_weighed_by_its_steps(steps: int) -> None:
    went, [shown] = walked(steps, [steps])
    expected, before = 0.0, 0
    for step in looked_at(steps):
        share = (step / steps) ** (DECAY + 1) - (before / steps) ** (DECAY + 1)
        expected += share * went[step - 1]
        before = step
    assert shown == pytest.approx(expected, abs=1e-4)


def test_later_steps_weigh_more_and_the_first_half_next_to_nothing() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = TailAverage([weight])
    for step in range(1000):
        with torch.no_grad():
            weight.fill_(1.0 if step < 500 else 0.0)
        average.step()
    average.show()
    assert 0 < weight.item() < 1 / 400


def test_few_steps_are_looked_at_so_that_it_costs_next_to_nothing() -> None:
    assert len(looked_at(24)) == 6
    assert len(looked_at(1000)) < 100
    # The control: the last tenth, which most of the weight is on, is looked at several times.
    assert len([step for step in looked_at(1000) if step > 900]) >= 3


def test_what_is_shown_on_the_way_changes_nothing_of_the_way() -> None:
    alone, _ = walked(60)
    watched, _ = walked(60, range(1, 61))
    assert watched == alone


def test_weights_come_back_to_the_last_bit_and_only_once() -> None:
    weight = nn.Parameter(torch.full((2, 2), 2.0))
    average = TailAverage([weight])
    for value in (3.0, 5.0, 5.0, 5.0, 5.0):
        with torch.no_grad():
            weight.fill_(value)
        average.step()
    kept = weight.detach().clone()
    average.show()
    shown = weight.detach().clone()
    average.show()
    assert torch.equal(weight, shown)
    average.hide()
    assert torch.equal(weight, kept)
    average.hide()
    assert torch.equal(weight, kept)
    assert not torch.equal(shown, torch.zeros(2, 2))


def test_one_bad_step_cannot_hide_in_the_average() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = TailAverage([weight])
    for value in (1.0, float("nan"), float("nan"), float("nan")):
        with torch.no_grad():
            weight.fill_(value)
        average.step()
    average.show()
    assert not bool(torch.isfinite(weight).any())
