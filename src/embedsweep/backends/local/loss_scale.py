"""Gradient scaling, without which small gradients vanish in float16."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

FIRST_SCALE = 2.0**16
"""Where `torch.amp.GradScaler` begins too."""

GROWTH_INTERVAL = 2000
"""Steps without an overflow after which the scale doubles, as in `torch.amp.GradScaler`."""


class LossScale:
    """Multiplies a gradient on its way through a network, and divides what comes out.

    The scale is halved where gradients overflow, and the step is taken again with the same drops:
    unlike with `torch.amp.GradScaler` no step is left out, and the optimiser sees true gradients.
    Scales are powers of two, so scaling itself rounds nothing.
    """

    def __init__(self) -> None:
        self.scale = FIRST_SCALE
        self._steps = 0

    def backward(
        self,
        gradient: Tensor,
        parameters: Sequence[nn.Parameter],
        through: Callable[[Tensor], None],
    ) -> None:
        """Leave the parameters' gradients in them.

        Gradients that overflow unscaled as well are left as they are, and so is what a gradient
        that is not finite makes of them.

        Args:
            gradient: Of the loss, at the network's output.
            parameters: All that the network trains; they have no gradients yet.
            through: Takes a gradient backwards through the network; callable again.
        """
        hopeless = not bool(torch.isfinite(gradient).all())
        while True:
            through(gradient * self.scale)
            gradients = [each.grad for each in parameters if each.grad is not None]
            finite = bool(torch.isfinite(nn.utils.get_total_norm(gradients)))
            if finite or hopeless or self.scale <= 1:
                break
            self.scale /= 2
            self._steps = 0
            for each in parameters:
                each.grad = None
        for scaled in gradients:
            scaled.div_(self.scale)
        self._steps += 1
        if self._steps == GROWTH_INTERVAL:
            self.scale *= 2
            self._steps = 0
