"""Adapters and hosted models through the stores: MLflow's own loader opens them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import yaml

from embedsweep.backends.hosted.backend import open_hosted
from embedsweep.backends.hosted.provider import open_client
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.model_file import kind_of
from embedsweep.core.errors import DataError
from tests.contract.store_cases import open_stores
from tests.integration.kept_models import (
    ADAPTER,
    KINDS,
    TEXTS,
    adapter_backend,
    keep,
    train_adapter,
    trial,
)
from tests.integration.misbehaving_provider import KEY

FILES = {
    "adapter": {"embedsweep.json", "head.safetensors"},
    "hosted": {"embedsweep.json"},
}
LIBRARIES = {
    "local": ["embedsweep", "mlflow", "sentence-transformers", "transformers", "torch"],
    "adapter": ["embedsweep", "mlflow", "sentence-transformers", "torch", "safetensors", "openai"],
    "hosted": ["embedsweep", "mlflow", "openai"],
}


def opened(kept_models, kind):
    """The model as its own backend opens it."""
    folder = kept_models.folders[kind]
    if kind == "local":
        return LocalBackend("cpu").open(folder)
    if kind == "adapter":
        return adapter_backend().open(folder)
    return open_hosted(folder, lambda url: open_client(url, KEY))


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_how_it_is_loaded_and_what_it_needs(kept_models, kind):
    version = kept_models.versions[kind]
    folder = kept_models.stores.model_folder(version.model_reference)
    described = mlflow.models.Model.load(folder / "MLmodel")
    flavour = described.flavors["python_function"]
    assert flavour["loader_module"] == "embedsweep.wiring.pyfunc"
    assert described.model_id == version.model_reference.removeprefix("models:/")
    assert described.metadata["task"] == "llm/v1/embeddings"
    pins = [
        f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in LIBRARIES[kind]
    ]
    assert (folder / "requirements.txt").read_text().split() == pins
    assert yaml.safe_load((folder / "conda.yaml").read_text())["dependencies"][-1] == {"pip": pins}
    if kind == "local":
        # Weights keep MLflow's own flavour too, which needs nothing of ours.
        assert set(described.flavors) == {"python_function", "sentence_transformers"}
        assert flavour["data"] == "model.sentence_transformer"
        return
    assert set(described.flavors) == {"python_function"}
    assert flavour["data"] == "model.embedsweep"
    assert {path.name for path in (folder / "model.embedsweep").iterdir()} == FILES[kind]
    assert not (folder / "model.sentence_transformer").exists()


def test_no_key_lies_with_the_models(kept_models):
    folder = kept_models.stores.folder / "artifacts"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > len(KINDS)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.fixture(scope="module")
def answers(kept_models):
    """What a process of its own gets of MLflow's loader."""
    stores = kept_models.stores
    references = [f"models:/{kind}/1" for kind in KINDS]
    environ = {
        "EMBEDSWEEP_STORES": str(kept_models.settings),
        "MLFLOW_TRACKING_URI": stores.ledger.client.tracking_uri,
        "EMBEDSWEEP_PROVIDER_KEY": KEY,
    }
    command = [sys.executable, "-m", "tests.integration.pyfunc_process", json.dumps(TEXTS)]
    done = subprocess.run(
        [*command, *references],
        cwd=Path(__file__).parents[2],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(KINDS, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_mlflow_gives_the_vectors_that_the_backend_gives(kept_models, answers, kind):
    expected = opened(kept_models, kind).embed(TEXTS)
    for name in ("list", "column", "table"):
        np.testing.assert_allclose(answers[kind][name], expected, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(answers[kind]["text"], expected[:1], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_inputs_is_answered_as_the_api_does(kept_models, answers, kind):
    expected = opened(kept_models, kind).embed(TEXTS)
    for name in ("input table", "request"):
        reply = answers[kind][name]
        assert set(reply) == {"object", "data", "usage"}
        assert [row["index"] for row in reply["data"]] == [0, 1]
        vectors = [row["embedding"] for row in reply["data"]]
        np.testing.assert_allclose(vectors, expected, atol=1e-6)
        assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_registry_fetches_the_folder_that_a_backend_opens(kept_models, kind, tmp_path):
    version = kept_models.versions[kind]
    for number, reference in enumerate((version.model_reference, f"models:/{kind}/1")):
        target = tmp_path / str(number)
        folder = kept_models.stores.registry.fetch(reference, target)
        name = "model.sentence_transformer" if kind == "local" else "model.embedsweep"
        assert folder == target / name
        assert kind_of(folder) == kind
        left = {path.name: path.stat().st_size for path in kept_models.folders[kind].iterdir()}
        assert {path.name: path.stat().st_size for path in folder.iterdir()} == left


@pytest.mark.parametrize("name", ["head.safetensors", "embedsweep.json"])
def test_an_adapter_tampered_with_is_refused(name, tmp_path, tmp_path_factory):
    stores = open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())
    left = train_adapter(tmp_path / "adapter")
    version = keep(stores, "support", trial(0, "adapter", ADAPTER), left)
    path = stores.model_folder(version.model_reference) / "model.embedsweep" / name
    untampered = stores.registry.fetch("models:/support/1", tmp_path / "before")
    expected = adapter_backend().open(untampered).embed(TEXTS)

    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"file model.embedsweep/{name} .*SHA-256"):
        stores.registry.fetch("models:/support/1", tmp_path / "after")
    assert not (tmp_path / "after").exists()
    if name == "head.safetensors":
        # Without the manifest the head would be opened, and would give other vectors.
        vectors = adapter_backend().open(path.parent).embed(TEXTS)
        assert not np.array_equal(vectors, expected)
