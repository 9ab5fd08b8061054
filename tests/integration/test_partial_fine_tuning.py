"""Last layers and low-rank updates: the rest stays bit for bit, and is forwarded once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.backends.local.opening import open_model
from embedsweep.backends.local.packed_model import PackedModel
from embedsweep.backends.local.padded_model import PaddedModel
from embedsweep.backends.local.partial import merged, restrict
from embedsweep.backends.local.training import Training
from embedsweep.core.dataset import Pair, TrainingSet
from embedsweep.core.ports import EpochEnd, TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.core.trial import TrialFailure
from tests.integration.tiny_models import make_tiny_base

PAIRS = TrainingSet(
    pairs=(
        Pair("my card was stolen", "I lost my card"),
        Pair("what is the rate", "exchange rates today"),
        Pair("reset my passcode", "I forgot the code, and the other one too " * 5),
        Pair("why was I charged", "there is a fee"),
    )
)
TEXTS = [text for pair in PAIRS.pairs for text in (pair.anchor, pair.positive)]
LAST, RANK = {"train_layers": 1}, {"lora_rank": 4}
PARTS = [LAST, RANK, {**LAST, **RANK}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, **part: int) -> LocalRecipe:
    return LocalRecipe(
        base_model=str(base),
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=2,
        learning_rate=1e-2,
        batch_size=2,
        seed=3,
        **part,  # type: ignore[arg-type]
    )


def changed(base: Path, trained: Path) -> set[str]:
    before, after = (load_file(folder / "model.safetensors") for folder in (base, trained))
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def trained(base: Path, folder: Path, **part: int) -> Path:
    LocalBackend("cpu").train(recipe(base, **part), PAIRS, folder, TrainingListener())
    return folder


def test_only_the_last_layer_changes(base: Path, tmp_path: Path) -> None:
    names = changed(base, trained(base, tmp_path / "last", **LAST))
    assert names
    assert all(name.startswith("encoder.layer.1.") for name in names)
    # The control: without the knob everything that the vectors hang on changes.
    every = changed(base, trained(base, tmp_path / "all"))
    assert "embeddings.word_embeddings.weight" in every
    assert any(name.startswith("encoder.layer.0.") for name in every)


@pytest.mark.parametrize(("part", "layers"), [(RANK, "01"), ({**LAST, **RANK}, "1")])
def test_lora_changes_matrices_by_its_rank(
    part: dict[str, int], layers: str, base: Path, tmp_path: Path
) -> None:
    names = changed(base, trained(base, tmp_path, **part))
    assert {name.split(".")[2] for name in names} == set(layers)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path))
    for name in names:
        assert name.endswith("weight")
        assert "LayerNorm" not in name
        assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5) <= RANK["lora_rank"]
    full = changed(base, trained(base, tmp_path / "full"))
    weights = load_file(tmp_path / "full" / "model.safetensors")
    widest = max(
        int(torch.linalg.matrix_rank(weights[name] - before[name], atol=1e-5))
        for name in full & names
    )
    assert widest > RANK["lora_rank"]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_saved_is_what_was_measured(
    part: dict[str, int], base: Path, tmp_path: Path
) -> None:
    """After an epoch in the middle, too: training goes on with the updates apart."""
    seen: list[npt.NDArray[np.float32]] = []

    def on_epoch(end: EpochEnd) -> None:
        seen.append(end.embedder.embed(TEXTS))
        end.save(tmp_path / str(end.epoch))

    backend = LocalBackend("cpu", measuring=True)
    listener = TrainingListener(on_epoch=on_epoch)
    backend.train(recipe(base, **part), PAIRS, tmp_path / "left", listener)
    for vectors, name in zip([*seen, seen[-1]], ("1", "2", "left"), strict=True):
        again = backend.open(tmp_path / name).embed(TEXTS)
        assert np.allclose(again, vectors, atol=1e-6)
    assert not np.allclose(seen[0], seen[1], atol=1e-3)


def restricted(base: Path, **part: int) -> SentenceTransformer:
    torch.manual_seed(1)
    model = open_model(base, "cpu").eval()
    restrict(model, recipe(base, **part))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(".up"):
                weight.normal_()
    return model


def gradients(
    model: SentenceTransformer, way: PackedModel | PaddedModel
) -> dict[str, Tensor | None]:
    def objective(vectors: Tensor) -> Tensor:
        weights = torch.linspace(-1, 1, vectors.numel()).view_as(vectors)
        return ((vectors @ vectors.T) ** 2).sum() + (vectors * weights).sum()

    model.zero_grad(set_to_none=True)
    way.prepare(TEXTS)
    way.backward(TEXTS, objective)
    return {name: weight.grad for name, weight in model.named_parameters()}


def test_saving_in_between_changes_nothing_of_what_follows(base: Path, tmp_path: Path) -> None:
    def on_epoch(end: EpochEnd) -> None:
        end.save(tmp_path / str(end.epoch))

    backend = LocalBackend("cpu")
    backend.train(recipe(base, **RANK), PAIRS, tmp_path / "saved", TrainingListener(on_epoch))
    alone = trained(base, tmp_path / "alone", **RANK)
    assert not changed(alone, tmp_path / "saved")


@pytest.mark.parametrize("part", PARTS)
def test_both_ways_give_the_same_gradients(part: dict[str, int], base: Path) -> None:
    model = restricted(base, **part)
    ways = (PackedModel(model, torch.float32, None, None), PaddedModel(model, torch.float32, None))
    packed, padded = (gradients(model, way) for way in ways)
    assert packed.keys() == padded.keys()
    compared = 0
    for name, weight in model.named_parameters():
        own, other = packed[name], padded[name]
        if not weight.requires_grad:
            assert own is None
            assert other is None
        elif other is not None and own is not None and not name.endswith("key.bias"):
            # States are kept in float16.
            assert float((own - other).norm()) <= 2e-2 * float(other.norm()) + 1e-6, name
            compared += 1
    assert compared >= 12


class CountingStore(ArrayStore):
    """Counts the arrays it does not have yet, by what they are."""

    def __init__(self, folder: Path, largest: int = 2**30) -> None:
        super().__init__(folder, largest)
        self.made: list[str] = []

    def array(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        def counted() -> npt.NDArray[Any]:
            self.made.append(name.rpartition(".")[2])
            return make()

        return super().array(name, counted)


def weights_after(base: Path, store: ArrayStore, **part: int) -> dict[str, Tensor]:
    torch.manual_seed(3)
    model = open_model(base, "cpu")
    training = Training(model, recipe(base, **part), PAIRS, torch.float32, store)
    training.run(TrainingListener())
    return {name: tensor.clone() for name, tensor in merged(model).state_dict().items()}


def test_frozen_layers_are_forwarded_once_for_all_trials(base: Path, tmp_path: Path) -> None:
    store = CountingStore(tmp_path)
    first = weights_after(base, store, **LAST)
    assert store.made.count("states") == 1
    again = weights_after(base, CountingStore(tmp_path), **LAST)
    with_lora = CountingStore(tmp_path)
    weights_after(base, with_lora, **LAST, **RANK)
    assert with_lora.made == []
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_states_of_another_base_are_others(base: Path, tmp_path: Path) -> None:
    other = open_model(base, "cpu")
    with torch.no_grad():
        other[0].model.encoder.layer[0].output.dense.bias.add_(1)
    other.save(str(tmp_path / "other"), create_model_card=False)
    store = CountingStore(tmp_path / "store")
    weights_after(base, store, **LAST)
    weights_after(tmp_path / "other", store, **LAST)
    assert store.made.count("states") == 2


def test_states_too_many_to_keep_are_computed_at_every_step(base: Path, tmp_path: Path) -> None:
    store = CountingStore(tmp_path / "small", largest=1000)
    computed = weights_after(base, store, **LAST)
    assert "states" not in store.made
    kept = weights_after(base, CountingStore(tmp_path / "large"), **LAST)
    assert all(torch.allclose(computed[name], kept[name], atol=1e-5) for name in kept)


def test_a_model_with_fewer_layers_is_a_failed_trial(base: Path) -> None:
    with pytest.raises(TrialFailure, match="train_layers is 3 and the model has 2"):
        restrict(open_model(base, "cpu"), recipe(base, train_layers=3))


def test_without_a_knob_nothing_is_frozen(base: Path) -> None:
    model = open_model(base, "cpu")
    restrict(model, recipe(base))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert merged(model) is model
    assert LocalEmbedder(model).embed(TEXTS).shape == (len(TEXTS), 32)
