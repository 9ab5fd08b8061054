"""Gradient descent as every recipe trained on this machine does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from embedsweep.backends.averaging import TailAverage
from embedsweep.backends.rows import Batch, Rows
from embedsweep.core.recipe import AdapterRecipe, LocalRecipe
from embedsweep.core.trial import TrialFailure

GRADIENT_NORM = 1.0
"""Gradients are scaled down to this norm, as transformers' trainer does by default."""


class Optimization:
    """AdamW over all epochs of a recipe, at a rate that climbs over the warm-up and then stays.

    Nothing but the number of steps hangs on the number of epochs, and the model after an epoch is
    an average over the steps so far: it is bit for bit the model of a recipe of so many epochs.

    Args:
        model: What is trained, in place.
        recipe: Epochs, rate, warm-up and weight decay.
        rows: The batches.
        beside: What else is trained; it neither decays nor counts for the gradients' norm.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: LocalRecipe | AdapterRecipe,
        rows: Rows,
        beside: Sequence[nn.Parameter] = (),
    ) -> None:
        self._model = model
        self._recipe = recipe
        self._rows = rows
        self.total_steps = rows.steps_per_epoch * recipe.epochs
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(model, beside, recipe.weight_decay),
            lr=recipe.learning_rate,
            fused=True,
        )
        self._trained = _trained(model)
        self._average = TailAverage(self._trained)
        self._steps = 0

    def epochs(
        self, backward: Callable[[Batch], Tensor], on_step: Callable[[int, int, float], None]
    ) -> Iterator[tuple[int, float]]:
        """Train, pausing after every epoch with the averaged model ready to embed.

        Training goes on from the weights as they were, which come back when it does; after the
        last epoch the model stays averaged.

        Args:
            backward: Leaves the gradients of a batch's loss in the weights and returns the loss.
            on_step: Called after every step with (done, total, loss).

        Yields:
            The epoch's number, from 1, and its mean loss.

        Raises:
            TrialFailure: A loss or a weight is not finite.
        """
        for epoch in range(self._recipe.epochs):
            losses = []
            self._average.hide()
            self._model.train()
            for batch in self._rows.epoch(epoch):
                losses.append(self._step(backward, batch))
                on_step(self._steps, self.total_steps, losses[-1])
            self._model.eval()
            self._average.show()
            _refuse_non_finite_weights(self._model)
            yield epoch + 1, sum(losses) / len(losses)

    def _rate(self, step: int) -> float:
        """Share of the recipe's rate: a linear climb over the warm-up, then all of it."""
        warmup = max(1, round(self._recipe.warmup * self._rows.steps_per_epoch))
        return min(1.0, (step + 1) / (warmup + 1))

    def _step(self, backward: Callable[[Batch], Tensor], batch: Batch) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.learning_rate * self._rate(self._steps)
        value = float(backward(batch).detach())
        if not np.isfinite(value):
            _refuse_non_finite_weights(self._model)
            raise TrialFailure("non_finite_loss", f"the training loss became {value}")
        nn.utils.clip_grad_norm_(self._trained, GRADIENT_NORM)
        self._optimizer.step()
        self._average.step()
        self._steps += 1
        return value


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _parameter_groups(
    model: nn.Module, beside: Sequence[nn.Parameter], weight_decay: float
) -> list[dict[str, object]]:
    """Matrices decay; vectors (biases, layer norms) and what is trained beside do not."""
    trained = _trained(model)
    decayed = [parameter for parameter in trained if parameter.dim() > 1]
    kept = [parameter for parameter in trained if parameter.dim() <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": [*kept, *beside], "weight_decay": 0.0},
    ]


def _refuse_non_finite_weights(model: nn.Module) -> None:
    for name, weights in model.named_parameters():
        if not bool(torch.isfinite(weights).all()):
            raise TrialFailure("non_finite_weights", f"{name} holds NaN or infinity")
