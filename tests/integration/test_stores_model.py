"""A real model through the stores: MLflow's own loaders open it, and so does the backend."""

from __future__ import annotations

import importlib.metadata

import mlflow
import numpy as np
import pytest

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.core.errors import DataError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.recipe import Base
from embedsweep.core.trial import Completed
from tests.contract.store_cases import (
    baseline,
    dataset,
    open_stores,
    report,
    sweep,
)

TEXTS = ["how do I open a file", "reading lines from a text file"]


@pytest.fixture
def stores(tmp_path, tmp_path_factory):
    return open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minilm") / "model"
    LocalBackend("cpu").untuned(Base("all-MiniLM-L6-v2"), folder)
    return folder


@pytest.fixture
def version(stores, minilm):
    opened = stores.ledger.begin(sweep())
    run_id = stores.ledger.start(opened, dataset(), baseline())
    end = TrialEnd(Completed(), 1.0, report=report(), model=minilm)
    version = stores.registry.publish("support", stores.ledger.finish(run_id, baseline(), end))
    stores.registry.crown(version, None)
    return version


def test_the_backend_opens_what_the_registry_fetches(stores, version, minilm, tmp_path):
    backend = LocalBackend("cpu")
    fetched = backend.open(stores.registry.fetch("models:/support@champion", tmp_path / "fetched"))
    expected = backend.open(minilm).embed(TEXTS)
    np.testing.assert_array_equal(fetched.embed(TEXTS), expected)


def test_mlflow_opens_it_both_ways_and_gives_the_same_vectors(
    stores, version, minilm, tmp_path, monkeypatch
):
    expected = LocalBackend("cpu").open(minilm).embed(TEXTS)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stores.ledger.client.tracking_uri)

    native = mlflow.sentence_transformers.load_model("models:/support@champion")
    np.testing.assert_allclose(native.encode(TEXTS), expected, atol=1e-6)

    function = mlflow.pyfunc.load_model(version.model_reference)
    reply = function.predict({"input": TEXTS})
    assert [row["index"] for row in reply["data"]] == [0, 1]
    vectors = [row["embedding"] for row in reply["data"]]
    np.testing.assert_allclose(vectors, expected, atol=1e-6)

    # MLflow leaves a note of its own beside a model it opens on the same machine.
    assert (stores.model_folder(version.model_reference) / "registered_model_meta").is_file()
    stores.registry.fetch("models:/support/1", tmp_path / "fetched")


def test_it_says_what_it_needs(stores, version):
    folder = stores.model_folder(version.model_reference)
    needed = (folder / "requirements.txt").read_text().split()
    torch = importlib.metadata.version("torch").partition("+")[0]
    assert f"torch=={torch}" in needed
    assert f"mlflow=={mlflow.__version__}" in needed
    described = mlflow.models.Model.load(folder / "MLmodel")
    assert described.model_id == version.model_reference.removeprefix("models:/")
    assert described.run_id == version.run_id
    assert described.metadata["task"] == "llm/v1/embeddings"


def test_a_version_of_another_program_is_none_of_ours(stores, version, tmp_path):
    client = stores.ledger.client
    client.create_model_version("support", (tmp_path / "theirs").as_uri())
    # It can be named, as an alias may point to it, and not opened.
    theirs = stores.registry.resolve("support", "2")
    assert theirs.manifest_digest == ""
    for reference in ("models:/support/2", theirs.model_reference):
        with pytest.raises(DataError, match="not one of ours"):
            stores.registry.fetch(reference, tmp_path / "fetched")
