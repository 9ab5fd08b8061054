"""Models leave memory with their last user, without Python's cyclic garbage collector."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.core.dataset import Pair, TrainingSet
from embedsweep.core.ports import EpochEnd, StopTraining, TrainingListener
from embedsweep.core.recipe import LocalRecipe, Loss
from tests.conftest import ROOT
from tests.integration.plain_models import mpnet
from tests.integration.tiny_models import make_tiny_base

PAIRS = TrainingSet(pairs=tuple(Pair(f"question {i}", f"answer {i}") for i in range(16)))
FULL = LocalRecipe(
    base_model="",
    loss=Loss.MULTIPLE_NEGATIVES_RANKING,
    epochs=2,
    learning_rate=1e-3,
    batch_size=8,
    seed=0,
)
RECIPES = {
    "full": FULL,
    "cached": replace(FULL, loss=Loss.CACHED_MULTIPLE_NEGATIVES_RANKING),
    "last layer": replace(FULL, train_layers=1),
    "LoRA": replace(FULL, lora_rank=2),
}
SWAPPED_WIDTH = 256
SWAPPED_BYTES = 30_522 * SWAPPED_WIDTH * 4
"""Of the word embeddings alone."""

Use = Callable[[SentenceTransformer], None]


def tie(model: SentenceTransformer) -> None:
    """Undo the guard: the library's own reference from a model's card to the model."""
    model.model_card_data.register_model(model)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module", params=["bert", "mpnet"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed model and a padded one."""
    folder = tmp_path_factory.mktemp("models") / request.param
    if request.param == "bert":
        return make_tiny_base(folder)
    mpnet(folder / "parts").save(str(folder))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("models") / "bert")


def opened(folder: Path, use: Use) -> weakref.ref[SentenceTransformer]:
    embedder = LocalBackend("cpu").open(folder)
    embedder.embed(["a text"])
    use(embedder.model)
    return weakref.ref(embedder.model)


def trained(
    recipe: LocalRecipe, use: Use, *, stop: bool = False
) -> weakref.ref[SentenceTransformer]:
    models: list[weakref.ref[SentenceTransformer]] = []

    def on_epoch(end: EpochEnd) -> None:
        end.embedder.embed(["a text"])
        use(end.embedder.model)
        models.append(weakref.ref(end.embedder.model))
        if stop:
            raise StopTraining

    with suppress(StopTraining):
        LocalBackend("cpu").train(recipe, PAIRS, None, TrainingListener(on_epoch=on_epoch))
    return models[-1]


@pytest.mark.usefixtures("no_collector")
def test_an_opened_model_is_freed_with_its_last_user(base: Path) -> None:
    assert opened(base, lambda model: None)() is None


@pytest.mark.usefixtures("no_collector")
def test_a_saved_model_is_freed_with_its_last_user(base: Path, tmp_path: Path) -> None:
    assert opened(base, lambda model: model.save(str(tmp_path)))() is None


@pytest.mark.usefixtures("no_collector")
def test_control_a_card_that_holds_its_model_keeps_it_in_memory(bert: Path) -> None:
    assert opened(bert, tie)() is not None
    assert trained(replace(FULL, base_model=str(bert)), tie)() is not None


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("stop", [False, True], ids=["ended", "stopped"])
def test_a_trained_model_is_freed_with_its_training(bert: Path, kind: str, stop: bool) -> None:
    recipe = replace(RECIPES[kind], base_model=str(bert))
    assert trained(recipe, lambda model: None, stop=stop)() is None


@pytest.mark.usefixtures("no_collector")
def test_a_trained_model_of_another_class_is_freed_too(base: Path) -> None:
    assert trained(replace(FULL, base_model=str(base)), lambda model: None)() is None


def test_a_card_still_knows_its_model(bert: Path) -> None:
    embedder = LocalBackend("cpu").open(bert)
    assert embedder.model.model_card_data.model.max_seq_length == embedder.model.max_seq_length


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_twenty_swaps_take_no_more_memory_than_two(tmp_path: Path, guarded: bool) -> None:
    model = make_tiny_base(tmp_path / "model", SWAPPED_WIDTH)
    command = [sys.executable, "-m", "tests.integration.swapping_process"]
    command += [str(model), str(tmp_path / "home"), *([] if guarded else ["strong"])]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    resident = json.loads(told.stdout)
    grew = resident["20"] - resident["2"]
    assert (grew < 2 * SWAPPED_BYTES) == guarded, f"{grew / SWAPPED_BYTES:.1f} models"
