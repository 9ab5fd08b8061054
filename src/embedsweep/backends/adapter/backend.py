"""The adapter backend: a small head of our own on a model that stays as it is, local or hosted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from embedsweep.backends.adapter.embedder import AdapterEmbedder
from embedsweep.backends.adapter.heads import load_head, save_head
from embedsweep.backends.adapter.inputs import HeldVectors, Inputs
from embedsweep.backends.adapter.training import AdapterTraining
from embedsweep.backends.model_file import (
    MODEL_FILE,
    base_of,
    base_values,
    read_model_file,
    write_model_file,
)
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.ports import Backend, Embedder, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, Loss, TunedRecipe

RECALLED_BYTES = 2**20
"""Vectors held for `AdapterEmbedder.recalling`: those of a few canaries."""


class AdapterBackend:
    """Trains heads on frozen vectors; fulfils `core.ports.Backend`.

    A model is a folder with the head and what finds the frozen model again, not the frozen model.

    Args:
        open_base: The frozen model; it should be behind the embedding cache, for every trial asks
            for the same vectors.
        base_digest: Identity of the frozen model, as its own backend tells it.
        key_variables: By provider, the environment variable that holds its key.
    """

    def __init__(
        self,
        open_base: Callable[[Base], Embedder],
        base_digest: Callable[[Base], str],
        key_variables: Mapping[str, str] | None = None,
    ) -> None:
        self._open_base = open_base
        self._base_digest = base_digest
        self._key_variables = dict(key_variables or {})
        self._inputs: dict[tuple[Base, str], Inputs] = {}
        self._recalled: dict[tuple[Base, str], HeldVectors] = {}

    def base_digest(self, base: Base) -> str:
        return self._base_digest(base)

    def train(
        self,
        recipe: TunedRecipe,
        data: TrainingSet,
        folder: Path | None,
        listener: TrainingListener,
    ) -> None:
        if not isinstance(recipe, AdapterRecipe):
            raise TypeError(f"expected an adapter recipe, got {recipe.kind}")
        if recipe.loss is Loss.CACHED_MULTIPLE_NEGATIVES_RANKING:
            raise TypeError(f"{recipe.loss.value} saves memory that vectors do not take")
        digest = self._base_digest(recipe.base)
        inputs = self._inputs_of(recipe.base, digest, data)
        values = {
            "kind": recipe.kind,
            "base": base_values(recipe.base),
            "base_digest": digest,
            "head": recipe.head.value,
            "width": recipe.width,
            "dimension": inputs.base.dimension,
            "key_variable": self._key_variables.get(recipe.provider or ""),
        }
        with torch.random.fork_rng([]):
            torch.manual_seed(recipe.seed)
            training = AdapterTraining(inputs, recipe)

        def save(folder: Path) -> None:
            save_head(training.head, folder)
            write_model_file(folder, values)

        parameters = sum(weight.numel() for weight in training.head.parameters())
        listener.on_fact("head_parameters", str(parameters))
        listener.on_fact("device", "cpu")
        listener.on_fact("precision", "float32")
        listener.on_fact("threads", "1")
        listener.on_fact("steps", str(training.total_steps))
        training.run(listener, save)
        if folder is not None:
            save(folder)

    def _inputs_of(self, base: Base, digest: str, data: TrainingSet) -> Inputs:
        """Those of the last training, if it was on the same model and training set."""
        inputs = self._inputs.get((base, digest))
        if inputs is None or inputs.data is not data:
            if any(known.data is not data for known in self._inputs.values()):
                self._inputs.clear()
            inputs = self._inputs[base, digest] = Inputs(self._open_base(base), data)
        return inputs

    def untuned(self, base: Base, folder: Path) -> None:
        raise TypeError(f"the backend of {base} itself leaves it in a folder, not the adapter's")

    def open(self, folder: Path) -> AdapterEmbedder:
        """See `core.ports.Backend`.

        Raises:
            DataError: The folder holds no whole adapter, or the frozen model is another one now.
        """
        values = read_model_file(folder)
        path = folder / MODEL_FILE
        if values["kind"] != AdapterRecipe.kind:
            why = f"it is {values['kind']!r}, expected {AdapterRecipe.kind!r}"
            raise DataError("kind", str(path), why, "open the folder with the backend of its kind")
        model = base_of(values["base"])
        digest = self._base_digest(model)
        if digest != values["base_digest"]:
            raise DataError(
                f"base model {model}",
                str(path),
                f"its digest is {digest}, expected {values['base_digest']}, which the head was "
                "trained on",
                "put that base model back, or train the adapter anew",
            )
        head = load_head(folder, Head(values["head"]), values["dimension"], values["width"])
        base = self._open_base(model)
        if base.dimension != values["dimension"]:
            raise DataError(
                f"base model {model}",
                str(path),
                f"its vectors have {base.dimension} numbers, expected {values['dimension']}, "
                "which the head was trained on",
                "put that base model back, or train the adapter anew",
            )
        held = self._recalled.setdefault((model, digest), HeldVectors(base, RECALLED_BYTES))
        return AdapterEmbedder(base, head, held)


_: type[Backend] = AdapterBackend
