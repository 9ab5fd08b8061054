"""Exported models: plain sentence-transformers opens them and gives the same embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from embedsweep import wiring
from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.export import export_model
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, Loss
from embedsweep.core.roles import Prompts, TextRole
from tests.integration.kept_models import DATA, KeptModels

TEXTS = ["how do I open a file", "reading lines from a text file", "bananas"]
HEADS = [(Head.LINEAR, None), (Head.LOW_RANK, 8), (Head.MLP, 8)]
PROMPTS = [None, Prompts(query="query: ", document="passage: ")]


@pytest.fixture(scope="module")
def local() -> LocalBackend:
    return LocalBackend("cpu")


def trained(local: LocalBackend, recipe: AdapterRecipe, folder: Path):
    backend = AdapterBackend(local.embedder, lambda base: "digest")
    backend.train(recipe, DATA, folder, TrainingListener())
    return backend.open(folder)


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize(("head", "width"), HEADS)
def test_the_export_gives_the_adapter_s_embeddings(local, head, width, prompts, tmp_path):
    recipe = AdapterRecipe(
        base_model=EMBEDDED,
        prompts=prompts,
        head=head,
        width=width,
        loss=Loss.SOFTMAX,
        epochs=20,
        learning_rate=2e-2,
        batch_size=4,
        seed=7,
    )
    adapter = trained(local, recipe, tmp_path / "adapter")
    assert export_model(adapter, tmp_path / "exported")
    plain = SentenceTransformer(str(tmp_path / "exported"), device="cpu")
    untuned = local.embedder(Base(EMBEDDED, prompts=prompts))
    ours = {TextRole.QUERY: plain.encode_query, TextRole.DOCUMENT: plain.encode_document}
    for role in TextRole:
        found = ours.get(role, plain.encode)(TEXTS)
        np.testing.assert_allclose(found, adapter.embed(TEXTS, role), atol=1e-6)
        # The control: the head does something.
        assert not np.allclose(found, untuned.embed(TEXTS, role), atol=1e-3)
    reopened = local.open(tmp_path / "exported")
    np.testing.assert_allclose(reopened.embed(TEXTS), adapter.embed(TEXTS), atol=1e-6)


def test_a_model_that_does_not_normalise_is_exported_with_a_module_that_does(local, tmp_path):
    *modules, last = local.embedder(Base(EMBEDDED)).model
    assert isinstance(last, Normalize)
    SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "model"))
    model = local.open(tmp_path / "model")
    assert export_model(model, tmp_path / "exported")
    found = SentenceTransformer(str(tmp_path / "exported"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, model.embed(TEXTS), atol=1e-6)
    # The control: the model's own files give other lengths.
    bare = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode(TEXTS)
    assert not np.allclose(bare, model.embed(TEXTS), atol=1e-2)


def test_no_other_model_is_exported_so(local, tmp_path):
    assert not export_model(local.embedder(Base(EMBEDDED)), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_a_registered_adapter_is_exported_for_the_library(kept_models: KeptModels, tmp_path):
    settings, reference = str(kept_models.settings), "models:/adapter/1"
    wiring.export(settings, reference, tmp_path / "exported")
    with wiring.opened_model(settings, reference) as adapter:
        expected = adapter.embed(TEXTS)
    plain = SentenceTransformer(str(tmp_path / "exported"), device="cpu")
    np.testing.assert_allclose(plain.encode(TEXTS), expected, atol=1e-6)
