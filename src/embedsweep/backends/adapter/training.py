"""The training loop of an adapter recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.backends.objective import Objective
from embedsweep.backends.optimization import Optimization
from embedsweep.backends.rows import Batch, Rows, texts_by_role
from embedsweep.core.dataset import TextRole, TrainingSet
from embedsweep.core.ports import Embedder, EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe

REPORTED_EPOCHS = 10
"""Of how many epochs, at most, the listener is told; to measure one costs more than to train it."""


def reported_epochs(epochs: int) -> frozenset[int]:
    """The epochs, from 1, whose model the listener sees: evenly spread, the last among them."""
    count = min(epochs, REPORTED_EPOCHS)
    return frozenset(-(-epochs * place // count) for place in range(1, count + 1))


class AdapterTraining:
    """One training of a head. `run` may be called once. The processor does it, in float32.

    Args:
        base: The frozen model; each distinct text is asked of it once in every role it has.
        recipe: How to train.
        data: What to train on.
    """

    def __init__(self, base: Embedder, recipe: AdapterRecipe, data: TrainingSet) -> None:
        self._base = base
        self._recipe = recipe
        self.head = ResidualHead(recipe.head, base.dimension, recipe.width)
        self._vectors = _FrozenVectors(base, data)
        self._objective = Objective(recipe, data, base, torch.device("cpu"))
        self._optimization = Optimization(
            self.head,
            recipe,
            Rows(data, recipe.loss.needs, recipe.batch_size, recipe.seed),
            self._objective.parameters,
        )
        self.total_steps = self._optimization.total_steps

    def run(self, listener: TrainingListener, save: Callable[[Path], None]) -> None:
        """Train all epochs; raises `TrialFailure` as soon as a loss or a weight is not finite.

        Args:
            listener: Told of the `reported_epochs`.
            save: Leaves the model so far in a folder.
        """
        reported = reported_epochs(self._recipe.epochs)
        embedder = AdapterEmbedder(self._base, self.head)

        def on_step(done: int, total: int, loss: float) -> None:
            # The losses of steps are not told: to record them would take longer than the steps.
            del loss
            listener.on_step(done, total)

        for epoch, loss in self._optimization.epochs(self._backward, on_step):
            if epoch in reported:
                listener.on_epoch(EpochEnd(epoch, {"train/loss": loss}, embedder, save))

    def _backward(self, batch: Batch) -> Tensor:
        loss = self._objective(self.head(self._vectors.of(batch)), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


class _FrozenVectors:
    """The frozen model's vectors of a training set, as one matrix that batches index."""

    def __init__(self, base: Embedder, data: TrainingSet) -> None:
        self._rows: dict[TextRole, dict[str, int]] = {}
        parts, count = [], 0
        for role, texts in texts_by_role(data).items():
            distinct = list(dict.fromkeys(texts))
            self._rows[role] = {text: count + place for place, text in enumerate(distinct)}
            if distinct:
                parts.append(base.embed(distinct, role))
            count += len(distinct)
        self._matrix = torch.from_numpy(np.concatenate(parts))

    def of(self, batch: Batch) -> Tensor:
        """Vectors of the batch's texts, column after column, (texts, dimension)."""
        columns = zip(batch.columns, batch.roles, strict=True)
        return self._matrix[[self._rows[role][text] for column, role in columns for text in column]]
