"""A backend whose models are tables of random vectors: quick, repeatable, best at a low rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from embedsweep.core.dataset import (
    Benchmark,
    Dataset,
    Pair,
    RelevanceTask,
    RetrievalTask,
    Split,
    TrainingSet,
)
from embedsweep.core.ports import EpochEnd, FloatArray, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, Recipe
from embedsweep.core.roles import TextRole

DIMENSION = 16


@dataclass(frozen=True)
class TableEmbedder:
    """The vector of ``topic 3: words`` is its topic's, with so much noise of its own."""

    noise: float
    dimension: int = DIMENSION

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        rows = [self._row(text) for text in texts]
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), DIMENSION)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _row(self, text: str) -> FloatArray:
        topic = _random(text.partition(":")[0])
        return (topic + self.noise * _random(text)).astype(np.float32)


def _random(text: str) -> FloatArray:
    seed = list(text.encode())
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


@dataclass
class TableBackend:
    """Fulfils `core.ports.Backend`; keeps the recipes it trained and does what the test says first.

    Attributes:
        before_training: Called with each recipe; what it raises is what training raises.
        luck: What a recipe's seed takes off the noise of its vectors.
        overtraining: What an epoch adds to the noise.
    """

    before_training: Callable[[LocalRecipe], None] = lambda recipe: None
    luck: Callable[[LocalRecipe], float] = lambda recipe: 0.0
    overtraining: Callable[[int], float] = lambda epoch: 0.0
    trained: list[Recipe] = field(default_factory=list)

    def base_digest(self, base: Base) -> str:
        return f"digest of {base}"

    def untuned(self, base: Base, folder: Path) -> None:
        self._save(2.5, folder)

    def train(
        self, recipe: Recipe, data: TrainingSet, folder: Path | None, listener: TrainingListener
    ) -> None:
        assert isinstance(recipe, LocalRecipe)
        self.before_training(recipe)
        listener.on_fact("device", "table")
        noise = 1.0 + recipe.learning_rate * 1e4 - self.luck(recipe)
        for epoch in range(1, recipe.epochs + 1):
            listener.on_step(epoch, recipe.epochs)
            losses = {"train/loss": 1 / epoch}
            now = noise + self.overtraining(epoch)
            save = partial(self._save, now)
            listener.on_epoch(EpochEnd(epoch, losses, TableEmbedder(now), save))
        self.trained.append(recipe)
        if folder is not None:
            save(folder)

    def open(self, folder: Path) -> TableEmbedder:
        return TableEmbedder(json.loads((folder / "config.json").read_text())["noise"])

    def _save(self, noise: float, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"noise": noise}))


def table_dataset(test_queries: int = 120) -> Dataset:
    """A retrieval data set over topics, made in memory."""
    valid, test = benchmark(Split.VALID, 60), benchmark(Split.TEST, test_queries)
    pairs = tuple(Pair(f"topic {i}: ask {i}", f"topic {i}: tell {i}") for i in range(40))
    train = TrainingSet(pairs=pairs)
    return Dataset(
        name="topics",
        format="pairs",
        train=train,
        valid=valid,
        sealed_test=lambda: test,
        rows={Split.TRAIN: 40, Split.VALID: 60, Split.TEST: test_queries},
        digests={
            Split.TRAIN: train.fingerprint,
            Split.VALID: valid.fingerprint,
            Split.TEST: test.fingerprint,
        },
        sources={split: "memory" for split in Split},
    )


def benchmark(split: Split, queries: int) -> Benchmark:
    asked = {f"q{i}": f"topic {split.value}{i}: ask {i}" for i in range(queries)}
    told = {f"d{i}": f"topic {split.value}{i}: tell {i}" for i in range(queries)}
    pairs = {f"p{i}": (asked[f"q{i}"], told[f"d{i}"]) for i in range(queries)}
    others = {f"n{i}": (asked[f"q{i}"], told[f"d{(i + 1) % queries}"]) for i in range(queries)}
    return Benchmark(
        name="topics",
        split=split,
        retrieval=RetrievalTask(asked, told, {f"q{i}": {f"d{i}": 1} for i in range(queries)}),
        relevance=RelevanceTask(
            {**pairs, **others}, {**dict.fromkeys(pairs, True), **dict.fromkeys(others, False)}
        ),
    )
