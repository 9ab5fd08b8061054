"""The training loop of an adapter recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.backends.adapter.inputs import Inputs
from embedsweep.backends.objective import Objective
from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe

REPORTED_EPOCHS = 10
"""Of how many epochs, at most, the listener is told; to measure one costs more than to train it."""


def reported_epochs(epochs: int, first: int = 1) -> frozenset[int]:
    """The epochs, from `first`, whose model the listener sees: evenly spread, with the last."""
    passed = first - 1
    left = epochs - passed
    count = min(left, REPORTED_EPOCHS)
    return frozenset(passed - (-left * place // count) for place in range(1, count + 1))


class AdapterTraining:
    """One training of a head. `run` may be called once. The processor does it, in float32.

    Args:
        inputs: The frozen model, and what to train on.
        recipe: How to train.
    """

    def __init__(self, inputs: Inputs, recipe: AdapterRecipe) -> None:
        self._base = inputs.base
        self._recipe = recipe
        self.head = ResidualHead(recipe.head, inputs.base.dimension, recipe.width)
        self._vectors = inputs.vectors
        self._objective = Objective(recipe, inputs.data, inputs.base, torch.device("cpu"))
        self._optimization = Optimization(
            self.head,
            recipe,
            inputs.rows(recipe.loss.needs, recipe.batch_size, recipe.seed),
            self._objective.parameters,
        )
        self.total_steps = self._optimization.total_steps

    def run(self, listener: TrainingListener, save: Callable[[Path], None]) -> None:
        """Train all epochs; raises `TrialFailure` as soon as a loss or a weight is not finite.

        Args:
            listener: Told of the `reported_epochs`.
            save: Leaves the model so far in a folder.
        """
        reported = reported_epochs(self._recipe.epochs, self._recipe.keep_from or 1)
        embedder = AdapterEmbedder(self._base, self.head)

        def on_step(done: int, total: int, loss: float) -> None:
            # The losses of steps are not told: to record them would take longer than the steps.
            del loss
            listener.on_step(done, total)

        listener.on_step(0, self.total_steps)
        ends = self._optimization.epochs(self._backward, on_step)
        while (end := self._next(ends)) is not None:
            epoch, loss = end
            if epoch in reported:
                listener.on_epoch(EpochEnd(epoch, {"train/loss": loss}, embedder, save))

    @staticmethod
    def _next(ends: Iterator[tuple[int, float]]) -> tuple[int, float] | None:
        """Train to the end of the next epoch; None where there is none.

        On one thread: a head's step is too small to be shared out, and waits for the others where
        it is. The weights then hang on no number of threads either.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return next(ends, None)
        finally:
            torch.set_num_threads(before)

    def _backward(self, batch: Batch) -> Tensor:
        vectors = self._vectors.of(batch)
        return self.head.backward(vectors, lambda units: self._objective(units, batch))
