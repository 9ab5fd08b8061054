"""The model after an epoch is the model of a recipe of so many epochs, to the last byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.local import training as local_training
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.optimization import Optimization
from embedsweep.core.dataset import TrainingSet
from embedsweep.core.ports import Backend, EpochEnd, TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Head, LocalRecipe, Loss
from embedsweep.evaluation import evaluate
from tests.integration.table_backend import TableEmbedder, table_dataset
from tests.integration.table_story import MRR
from tests.integration.tiny_models import make_tiny_base

DATASET = table_dataset(40)
EPOCHS = (1, 2, 3)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


def local(base: Path, loss: Loss = Loss.MULTIPLE_NEGATIVES_RANKING) -> LocalRecipe:
    return LocalRecipe(
        base_model=str(base),
        loss=loss,
        epochs=len(EPOCHS),
        learning_rate=1e-3,
        batch_size=8,
        seed=3,
        keep_from=1,
    )


HEAD = AdapterRecipe(
    base_model="table",
    head=Head.MLP,
    width=8,
    loss=Loss.COSENT,
    epochs=len(EPOCHS),
    learning_rate=1e-3,
    batch_size=8,
    seed=3,
    keep_from=1,
)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def equal(one: Path, other: Path) -> bool:
    left, right = weights_in(one), weights_in(other)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def every_epoch(
    backend: Backend, recipe: LocalRecipe | AdapterRecipe, data: TrainingSet, home: Path
) -> list[Path]:
    """The models after each epoch of one training, which is measured and saved on the way."""
    folders = []

    def on_epoch(end: EpochEnd) -> None:
        evaluate(end.embedder, DATASET.valid, MRR)
        folders.append(home / f"epoch-{end.epoch}")
        end.save(folders[-1])

    backend.train(recipe, data, None, TrainingListener(on_epoch=on_epoch))
    return folders


def alone(
    backend: Backend, recipe: LocalRecipe | AdapterRecipe, data: TrainingSet, home: Path
) -> list[Path]:
    """The models of trainings of one, two and three epochs, of which nothing is measured."""
    folders = [home / f"alone-{epochs}" for epochs in EPOCHS]
    for epochs, folder in zip(EPOCHS, folders, strict=True):
        ended = replace(recipe, epochs=epochs, keep_from=None)
        backend.train(ended, data, folder, TrainingListener())
    return folders


def pairs_equal(one: Sequence[Path], other: Sequence[Path]) -> list[bool]:
    return [equal(left, right) for left, right in zip(one, other, strict=True)]


@pytest.mark.parametrize(
    "loss", [Loss.MULTIPLE_NEGATIVES_RANKING, Loss.CACHED_MULTIPLE_NEGATIVES_RANKING]
)
def test_one_local_training_gives_the_model_of_every_epoch(
    loss: Loss, base: Path, tmp_path: Path
) -> None:
    backend, recipe = LocalBackend("cpu"), local(base, loss)
    models = every_epoch(backend, recipe, DATASET.train, tmp_path)
    assert pairs_equal(models, alone(backend, recipe, DATASET.train, tmp_path)) == [True] * 3
    assert not equal(models[0], models[1])
    assert not equal(models[1], models[2])


class LinearFall(Optimization):
    """A rate that falls to zero over all steps."""

    def _rate(self, step: int) -> float:
        return (self.total_steps - step) / self.total_steps


def test_with_a_rate_that_falls_only_the_last_epochs_model_is_the_same(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_training, "Optimization", LinearFall)
    backend, recipe = LocalBackend("cpu"), local(base)
    models = every_epoch(backend, recipe, DATASET.train, tmp_path)
    apart = alone(backend, recipe, DATASET.train, tmp_path)
    assert pairs_equal(models, apart) == [False, False, True]


def test_one_training_of_a_head_gives_the_model_of_every_epoch(tmp_path: Path) -> None:
    backend = AdapterBackend(lambda base: TableEmbedder(1.0), lambda base: "digest")
    models = every_epoch(backend, HEAD, DATASET.train, tmp_path)
    assert pairs_equal(models, alone(backend, HEAD, DATASET.train, tmp_path)) == [True] * 3
    assert not equal(models[0], models[2])


def test_the_model_saved_is_the_one_measured(base: Path, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    backend = LocalBackend("cpu")
    measuring = LocalBackend("cpu", measuring=True)

    def on_epoch(end: EpochEnd) -> None:
        folder = tmp_path / str(end.epoch)
        end.save(folder)
        here, there = (
            evaluate(each, DATASET.valid, MRR).means[MRR]
            for each in (end.embedder, measuring.open(folder))
        )
        told.append((here, there))

    backend.train(local(base), DATASET.train, None, TrainingListener(on_epoch=on_epoch))
    assert len(told) == len(EPOCHS)
    assert all(here == there for here, there in told)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["1", "2", "3"]
