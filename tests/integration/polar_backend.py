"""Triplets with hard negatives, and a backend that can win them by forgetting the topics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from embedsweep.core.dataset import Dataset, Pair, Split, TrainingSet
from embedsweep.core.ports import EpochEnd, FloatArray, TrainingListener
from embedsweep.core.recipe import Base, LocalRecipe, Loss, Recipe
from embedsweep.core.roles import TextRole
from embedsweep.data.pairs import Pairs

DIMENSION = 24
WEIGHTS = {
    None: (1.0, 0.35, 0.6),
    Loss.TRIPLET: (0.3, 3.0, 0.3),
    Loss.MULTIPLE_NEGATIVES_RANKING: (1.0, 0.7, 0.45),
}
"""Weights of topic, polarity and noise in an embedding, by loss; `None` is the untuned model."""


@dataclass(frozen=True)
class PolarEmbedder:
    """Embeds ``topic 3 yes: words`` as the sum of its topic, its polarity and its own noise."""

    topic: float
    polarity: float
    noise: float
    dimension: int = DIMENSION

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        vectors = np.stack([self._row(text) for text in texts])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32)

    def _row(self, text: str) -> FloatArray:
        topic, polarity = text.partition(":")[0].rsplit(" ", 1)
        parts = (self.topic, topic), (self.polarity, polarity), (self.noise, text)
        row: FloatArray = np.sum([weight * _random(name) for weight, name in parts], axis=0)
        return row


@cache
def _random(text: str) -> FloatArray:
    return np.random.default_rng(list(text.encode())).standard_normal(DIMENSION)


class PolarBackend:
    """Fulfils `core.ports.Backend`: the loss decides which model comes out."""

    def base_digest(self, base: Base) -> str:
        return f"digest of {base}"

    def untuned(self, base: Base, folder: Path) -> None:
        _save(None, 0, folder)

    def train(
        self, recipe: Recipe, data: TrainingSet, folder: Path | None, listener: TrainingListener
    ) -> None:
        assert isinstance(recipe, LocalRecipe)
        weakness = recipe.batch_size

        def save(where: Path) -> None:
            _save(recipe.loss, weakness, where)

        listener.on_epoch(EpochEnd(1, {}, _embedder(recipe.loss, weakness), save))
        if folder is not None:
            save(folder)

    def open(self, folder: Path) -> PolarEmbedder:
        return PolarEmbedder(*json.loads((folder / "config.json").read_text()))


def _embedder(loss: Loss | None, weakness: int) -> PolarEmbedder:
    topic, polarity, noise = WEIGHTS[loss]
    return PolarEmbedder(topic, polarity, noise * (1 + weakness / 20))


def _save(loss: Loss | None, weakness: int, folder: Path) -> None:
    model = _embedder(loss, weakness)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps([model.topic, model.polarity, model.noise]))


def polar_dataset(rows: int = 120) -> Dataset:
    """Triplets whose negative has the topic of the anchor and the other polarity."""
    values = {split: [_row(split, place) for place in range(rows)] for split in Split}
    pairs = Pairs()
    train = pairs.training(values[Split.TRAIN])
    valid, test = (
        pairs.benchmark("polar", split, values[split], train) for split in (Split.VALID, Split.TEST)
    )
    return Dataset(
        name="polar",
        format="pairs",
        train=train,
        valid=valid,
        sealed_test=lambda: test,
        rows=dict.fromkeys(Split, rows),
        digests={
            Split.TRAIN: train.fingerprint,
            Split.VALID: valid.fingerprint,
            Split.TEST: test.fingerprint,
        },
        sources=dict.fromkeys(Split, "memory"),
    )


def _row(split: Split, place: int) -> Pair:
    topic = f"topic {split.value}{place}"
    mine, other = ("yes", "no") if place % 2 else ("no", "yes")
    return Pair(
        f"{topic} {mine}: ask {place}",
        f"{topic} {mine}: tell {place}",
        (f"{topic} {other}: tell {place}",),
    )
