"""A model of every kind, each made by its own backend and kept in one store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.ports import TrainingListener, TrialEnd, TrialStart, Version
from embedsweep.core.recipe import AdapterRecipe, Head, Loss
from embedsweep.core.trial import Completed, Role
from embedsweep.wiring.models import base_digest
from tests.contract.store_cases import (
    Stores,
    baseline,
    dataset,
    open_stores,
    report,
    sweep,
)
from tests.integration.hosted_parts import DATA, RECIPE, Desk

KINDS = ("local", "adapter", "hosted")
TEXTS = ["how do I open a file", "reading lines from a text file"]
ADAPTER = AdapterRecipe(
    base_model=EMBEDDED,
    head=Head.LINEAR,
    loss=Loss.SOFTMAX,
    epochs=2,
    learning_rate=1e-2,
    batch_size=4,
    seed=7,
)


def adapter_backend(digest=base_digest):
    """Over models of this machine, without a cache; the digest is what a base is said to be."""
    local = LocalBackend("cpu")
    return AdapterBackend(lambda base: local.open(base_folder(base.model)), digest)


def train_adapter(folder, recipe=ADAPTER, digest=base_digest):
    """A head on the embedded default."""
    adapter_backend(digest).train(recipe, DATA, folder, TrainingListener())
    return folder


@dataclass
class KeptModels:
    """The store, and by kind the folder that the backend left and the version it became.

    Attributes:
        settings: The environment file that names the store.
    """

    stores: Stores
    settings: Path
    folders: dict[str, Path]
    versions: dict[str, Version]


def keep(stores: Stores, name: str, started: TrialStart, folder: Path) -> Version:
    """Keep a folder as the model of a trial, and publish it."""
    opened = stores.ledger.latest("support-search") or stores.ledger.begin(sweep())
    run_id = stores.ledger.start(opened, dataset(), started)
    end = TrialEnd(Completed(), 1.0, report=report(), model=folder)
    return stores.registry.publish(name, stores.ledger.finish(run_id, started, end))


def trial(number, kind, recipe):
    return TrialStart(number, Role.TRIAL, kind, recipe, fingerprint(number, kind))


def make_kept_models(home: Path, base: Path, url: str) -> KeptModels:
    """The three, the hosted one at the provider of that URL.

    Args:
        home: An empty folder.
        base: See `store_cases.open_stores`.
        url: Where the provider listens.
    """
    stores = open_stores("mlflow", home / "store", base)
    settings = home / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\n"
        "EMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
        "EMBEDSWEEP_HOME=store\n"
    )
    desk, hosted = Desk(url, home), replace(RECIPE, provider=url)
    LocalBackend("cpu").untuned(baseline().recipe.base, home / "local")
    folders = {
        "local": home / "local",
        "adapter": train_adapter(home / "adapter"),
        "hosted": desk.train(hosted),
    }
    desk.book.close()
    starts = (baseline(), trial(1, "adapter", ADAPTER), trial(2, "hosted", hosted))
    versions = {
        kind: keep(stores, kind, started, folders[kind])
        for kind, started in zip(KINDS, starts, strict=True)
    }
    return KeptModels(stores, settings, folders, versions)
