"""Averaged weights: what calms a model whose learning rate never falls.

Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations":
at a constant rate, an average over the tail of the weights does what a falling rate does, and is
at hand after every step. The average is Shamir and Zhang's, "Stochastic Gradient Descent for
Non-smooth Optimization", 2013: it needs one copy of the weights and no end known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

DECAY = 8
"""After t steps, the weights after step s count in proportion to s to this power: on average they
are those after 0.9 t steps, and what was before half of them counts for 1 part in 500."""

LOOK_EVERY = 4
LOOKS_APART = 1 / 32
"""The weights are looked at after so many steps, later when the steps are so great a part more: to
do so after every one would take a third of an optimiser's time."""


class TailAverage:
    """The average of weights over the tail of the steps so far. It hangs on the past alone.

    Args:
        weights: What is averaged, as it changes in place; a copy of it is held.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self._weights = list(weights)
        self._held = [weight.detach().clone() for weight in self._weights]
        self._steps = 0
        self._seen = 0
        self._shown = False

    def step(self) -> None:
        """Told after every step. Those between two looks count with the later one."""
        self._steps += 1
        if self._steps - self._seen >= max(LOOK_EVERY, self._steps * LOOKS_APART):
            self._look()

    def show(self) -> None:
        """Put the average in the weights' place until `hide`."""
        if not self._shown:
            self._look()
            self._swap()

    def hide(self) -> None:
        """Put the weights back, if `show` took them out."""
        if self._shown:
            self._swap()

    @torch.no_grad()
    def _look(self) -> None:
        if self._seen == self._steps:
            return
        # What is seen now stands for all steps since the last look.
        share = 1 - (self._seen / self._steps) ** (DECAY + 1)
        torch._foreach_lerp_(self._held, [weight.detach() for weight in self._weights], share)
        self._seen = self._steps

    def _swap(self) -> None:
        for place, weight in enumerate(self._weights):
            weight.data, self._held[place] = self._held[place], weight.data
        self._shown = not self._shown
