"""Models of every kind opened by reference and by folder, and frozen models asked once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.hosted.backend import HostedBackend, open_hosted
from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.provider import open_client
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED
from embedsweep.backends.model_file import write_model_file
from embedsweep.core.bill import Price
from embedsweep.core.errors import DataError, StoreError, UsageError
from embedsweep.core.experiment import Budget, DataSpec, Experiment
from embedsweep.core.jobs import Account
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, Loss
from embedsweep.core.report import Measure
from embedsweep.core.space import SearchSpace
from embedsweep.stores.job_book import SqlJobBook
from embedsweep.wiring.models import backends, base_digest, opened_model
from tests.integration.hosted_parts import DATA
from tests.integration.kept_models import KINDS, TEXTS, adapter_backend, train_adapter
from tests.integration.misbehaving_provider import KEY

PROBE = "dimension"
"""What is embedded to learn how long a model's vectors are."""


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("EMBEDSWEEP_PROVIDER_KEY", KEY)


def by_its_backend(kept_models, kind):
    folder = kept_models.folders[kind]
    if kind == "hosted":
        return open_hosted(folder, lambda url: open_client(url, KEY))
    return (LocalBackend("cpu") if kind == "local" else adapter_backend()).open(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_opens_by_reference_and_by_folder(kept_models, kind, tmp_path):
    expected = by_its_backend(kept_models, kind).embed(TEXTS)
    stores, version = str(kept_models.settings), kept_models.versions[kind]
    exported = kept_models.stores.registry.fetch(version.model_reference, tmp_path)
    references = (
        f"models:/{kind}/1",
        version.model_reference,
        f"runs:/{version.run_id}",
        str(exported),
    )
    for reference in references:
        with opened_model(stores, reference) as embedder:
            np.testing.assert_array_equal(embedder.embed(TEXTS), expected, err_msg=reference)


def test_a_base_model_opens_by_its_name(kept_models):
    with opened_model(str(kept_models.settings), EMBEDDED) as embedder:
        expected = by_its_backend(kept_models, "local").embed(TEXTS)
        np.testing.assert_array_equal(embedder.embed(TEXTS), expected)


def test_what_is_no_model_is_told(kept_models, tmp_path):
    stores = str(kept_models.settings)
    with (
        pytest.raises(StoreError, match="no such version or alias"),
        opened_model(stores, "models:/local/9"),
    ):
        pass
    with (
        pytest.raises(UsageError, match="there is no such folder"),
        opened_model(stores, str(tmp_path / "nothing")),
    ):
        pass
    with pytest.raises(DataError, match="holds no"), opened_model(stores, str(tmp_path)):
        pass


def test_an_adapter_whose_base_is_another_one_now_is_refused(kept_models, tmp_path):
    stores = str(kept_models.settings)
    trained_on = "0" * 64
    train_adapter(tmp_path / "other", digest=lambda base: trained_on)
    with (
        pytest.raises(DataError, match=f"expected {trained_on}, which the head") as caught,
        opened_model(stores, str(tmp_path / "other")),
    ):
        pass
    assert base_digest(Base(EMBEDDED)) in str(caught.value)
    train_adapter(tmp_path / "same")
    with opened_model(stores, str(tmp_path / "same")) as embedder:
        assert embedder.embed(TEXTS).shape == (2, embedder.dimension)


def test_the_digest_changes_with_the_files_of_the_base(kept_models, tmp_path):
    copies = [tmp_path / "one", tmp_path / "two"]
    for copy in copies:
        copy.mkdir()
        for path in kept_models.folders["local"].rglob("*.json"):
            target = copy / path.relative_to(kept_models.folders["local"])
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
        (copy / "model.safetensors").write_bytes(b"weights")
    with (copies[1] / "config.json").open("a") as file:
        file.write(" ")
    digests = {base_digest(Base(str(copy))) for copy in copies}
    assert len(digests) == 2


@pytest.fixture
def settings(tmp_path):
    """An environment file of stores that nobody has written to."""
    path = tmp_path / "stores.env"
    path.write_text("EMBEDSWEEP_HOME=home\nEMBEDSWEEP_STUDY_URL=sqlite:///study.db\n")
    return path


def experiment():
    return Experiment(
        name="shared",
        path=Path("shared.yaml"),
        text="name: shared\n",
        data=DataSpec("topics", builtin="memory"),
        objective=Measure("mrr", 10),
        space=SearchSpace((), seed=7),
        trials=2,
        budget=Budget(cost=10_000.0),
        prices={"small": Price(embedding=1e6)},
    )


def recipe(url, seed):
    return AdapterRecipe(
        base_model="small",
        provider=url,
        head=Head.LINEAR,
        loss=Loss.SOFTMAX,
        epochs=2,
        learning_rate=1e-2,
        batch_size=4,
        seed=seed,
    )


def test_a_model_of_the_loopback_service_opens_where_none_runs_yet(kept_models, settings, tmp_path):
    """Hosted there, or an adapter over what it serves: whoever asks first starts it."""
    expected = by_its_backend(kept_models, "local").embed(TEXTS)
    values = {"dimension": 384, "dimensions": None, "job_id": None, "key_variable": None}
    names = {"provider": "loopback", "model": EMBEDDED, "base_model": EMBEDDED}
    write_model_file(tmp_path / "hosted", {"kind": "hosted", **names, **values})
    with opened_model(str(settings), str(tmp_path / "hosted")) as embedder:
        np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-6)
    there = replace(recipe("loopback", 1), base_model=EMBEDDED)
    with backends(str(settings), experiment()) as known:
        for name, each in (("adapter", there), ("same", replace(there, provider=None))):
            known.kept["adapter"].train(each, DATA, tmp_path / name, TrainingListener())
    with opened_model(str(settings), str(tmp_path / "adapter")) as embedder:
        expected = adapter_backend().open(tmp_path / "same").embed(TEXTS)
        np.testing.assert_allclose(embedder.embed(TEXTS), expected, atol=1e-4)


def work(by_kind, url, folder):
    """Two trainings and the baseline, each measured on the same texts."""
    for seed in (1, 2):
        scored = []
        listener = TrainingListener(on_epoch=lambda end, to=scored: to.append(measure(end)))
        by_kind["adapter"].train(recipe(url, seed), DATA, folder / str(seed), listener)
        by_kind["adapter"].open(folder / str(seed)).embed(TEXTS)
        assert len(scored) == 2
    by_kind["hosted"].untuned(Base("small", url), folder / "untuned")
    by_kind["hosted"].open(folder / "untuned").embed([*TEXTS, *DATA.every_text()])


def measure(end):
    return end.embedder.embed(TEXTS)


def distinct():
    return [PROBE, *dict.fromkeys([*DATA.every_text(), *TEXTS])]


def test_the_provider_of_a_frozen_base_is_asked_for_each_text_once(provider, settings, tmp_path):
    with backends(str(settings), experiment()) as known:
        by_kind, meter = known.kept, known.meter
        work(by_kind, provider.url, tmp_path)
        billed = meter.bill
    asked = provider.ledger()["embedded_texts"]
    assert sorted(set(asked)) == sorted(distinct())
    assert len([text for text in asked if text != PROBE]) == len(distinct()) - 1
    assert asked.count(PROBE) <= 2
    assert billed.embedded_tokens == sum(map(len, asked)) == billed.cost
    # Nor is it asked again by the next call, in a process of its own.
    with backends(str(settings), experiment()) as known:
        by_kind, meter = known.kept, known.meter
        work(by_kind, provider.url, tmp_path / "again")
    again = provider.ledger()["embedded_texts"][len(asked) :]
    assert set(again) <= {PROBE}


def test_without_the_cache_it_is_asked_again(provider, settings, tmp_path):
    """The control: by each training set's first use, by every measuring, and by the baseline."""
    book = SqlJobBook(f"sqlite:///{tmp_path / 'jobs.db'}")
    meter = Meter(book, Account("shared", None), {})
    hosted = HostedBackend(lambda url: open_client(url, KEY), book, meter)
    by_kind = {"adapter": AdapterBackend(hosted.embedder, base_digest), "hosted": hosted}
    work(by_kind, provider.url, tmp_path)
    book.close()
    asked = provider.ledger()["embedded_texts"]
    assert all(asked.count(text) >= 2 for text in DATA.every_text())
    assert all(asked.count(text) >= 4 for text in TEXTS)


def test_the_models_of_other_providers_and_lengths_share_nothing(provider, settings):
    with backends(str(settings), experiment()) as known:
        by_kind = known.kept
        base = Base("small", provider.url)
        for other in (base, base, replace(base, model="large"), replace(base, dimensions=4)):
            by_kind["hosted"].embedder(other).embed(TEXTS)
    asked = provider.ledger()["embedded_texts"]
    assert [asked.count(text) for text in TEXTS] == [3, 3]


def test_an_adapters_file_names_the_variable_of_its_provider(provider, settings, tmp_path):
    named = replace(experiment(), key_variables={provider.url: "TEAM_KEY"})
    with (
        backends(str(settings), named) as known,
        pytest.raises(UsageError, match="TEAM_KEY: it is not set"),
    ):
        known.kept["adapter"].train(recipe(provider.url, 1), DATA, tmp_path, TrainingListener())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEAM_KEY", KEY)
        patch.delenv("EMBEDSWEEP_PROVIDER_KEY")
        with backends(str(settings), named) as known:
            known.kept["adapter"].train(recipe(provider.url, 1), DATA, tmp_path, TrainingListener())
        values = json.loads((tmp_path / "embedsweep.json").read_text())
        assert values["key_variable"] == "TEAM_KEY"
        with opened_model(str(settings), str(tmp_path)) as embedder:
            assert embedder.embed(TEXTS).shape == (2, 4)
