"""Real sentence-transformers models small enough to be copied many times, through a whole trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import BertConfig, BertModel
from transformers.utils.logging import disable_progress_bar

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.core.bill import Bill
from embedsweep.core.dataset import Dataset
from embedsweep.core.ports import OpenSweep, Sweep, TrialStart, Version
from embedsweep.core.recipe import LocalRecipe, Loss, recipe_fingerprint
from embedsweep.core.report import Measure
from embedsweep.core.trial import Role, Trial
from embedsweep.reporting.model_card import model_card
from embedsweep.stores.manifest import MANIFEST_FILE, write_manifest
from embedsweep.stores.mlflow_run import Tag
from embedsweep.workflows.services import Services, Silent
from embedsweep.workflows.sweep.run_trial import TrialRunner
from tests.contract.store_cases import Stores, open_stores
from tests.integration.table_backend import table_dataset

NAME = "support"
WIDTH = 32
DATASET = table_dataset()
MRR = Measure("mrr", 10)


def make_tiny_base(folder: Path, width: int = WIDTH) -> Path:
    """The embedded default's tokenizer before two small layers that nobody trained."""
    disable_progress_bar()
    shutil.copytree(base_folder(EMBEDDED), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": width, "intermediate_size": 2 * width}
    config |= {"num_attention_heads": 2, "num_hidden_layers": 2}
    pooling = folder / "1_Pooling" / "config.json"
    widths = json.loads(pooling.read_text()) | {"word_embedding_dimension": width}
    widths["embedding_dimension"] = widths.pop("word_embedding_dimension")
    pooling.write_text(json.dumps(widths))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        BertModel(BertConfig(**config)).save_pretrained(folder)
    return folder


@dataclass
class Registered:
    """Two models of one recipe on two seeds, trained, kept and registered; the first is champion.

    Attributes:
        settings: The environment file that names the store.
    """

    stores: Stores
    services: Services
    settings: Path
    sweep: OpenSweep
    trials: list[Trial]
    versions: list[Version]

    def files(self, number: int = 1) -> Path:
        """The folder in the store that holds all files of a version."""
        return self.stores.model_folder(self.versions[number - 1].model_reference)

    @contextmanager
    def changed(self, change: Callable[[Path], None], backup: Path) -> Iterator[None]:
        """Version 1 with other files, and a manifest and tags that agree with them."""
        folder, version = self.files(), self.versions[0]
        shutil.copytree(folder, backup)
        try:
            change(folder)
            self._sign(folder, version)
            yield
        finally:
            shutil.rmtree(folder)
            shutil.copytree(backup, folder)
            self._tag(version, version.manifest_digest)

    def _sign(self, folder: Path, version: Version) -> None:
        (folder / MANIFEST_FILE).unlink()
        files = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        self._tag(version, write_manifest(files, folder / MANIFEST_FILE))

    def _tag(self, version: Version, digest: str) -> None:
        client = self.stores.ledger.client
        model_id = version.model_reference.removeprefix("models:/")
        client.set_logged_model_tags(model_id, {Tag.MANIFEST: digest})
        client.set_model_version_tag(version.name, str(version.number), Tag.MANIFEST, digest)


def make_registered(home: Path, base: Path) -> Registered:
    """Through the whole of a trial, companions and all.

    Args:
        home: An empty folder.
        base: See `store_cases.open_stores`.
    """
    stores = open_stores("mlflow", home / "store", base)
    settings = home / "stores.env"
    settings.write_text(
        "MLFLOW_TRACKING_URI=sqlite:///store/mlflow.db\n"
        "EMBEDSWEEP_ARTIFACTS=store/artifacts\n"
        "EMBEDSWEEP_STUDY_URL=sqlite:///store/study.db\n"
        "EMBEDSWEEP_HOME=store\n"
    )
    tiny, work = make_tiny_base(home / "tiny"), home / "trials"
    work.mkdir()
    backend = LocalBackend("cpu")
    services = Services(
        ledger=stores.ledger,
        registry=stores.registry,
        backends={"local": backend},
        kind_of=lambda folder: "local",
        open_live=backend.open,
        card=model_card,
        open_study=_no_study,
        bill=Bill,
        work=work,
        progress=Silent(),
        provenance=lambda recipe: {"python": "3", "base_model": {"commit": "c" * 40}},
    )
    sweep = stores.ledger.begin(_sweep(DATASET, tiny))
    runner = TrialRunner(services, sweep, DATASET, MRR)
    trials = [runner.run(_start(number, tiny)) for number in (0, 1)]
    versions = [stores.registry.publish(NAME, trial) for trial in trials]
    stores.registry.crown(versions[0], None)
    return Registered(stores, services, settings, sweep, trials, versions)


def _sweep(data: Dataset, tiny: Path) -> Sweep:
    identity = {"base_models": {str(tiny): "d" * 64}}
    return Sweep("topics", str(MRR), identity, "e" * 64, data, "name: topics\n")


def _start(number: int, tiny: Path) -> TrialStart:
    recipe = LocalRecipe(
        base_model=str(tiny),
        loss=Loss.MULTIPLE_NEGATIVES_RANKING,
        epochs=1,
        learning_rate=1e-3,
        batch_size=8,
        seed=number,
    )
    return TrialStart(number, Role.TRIAL, "local", recipe, recipe_fingerprint(recipe))


def _no_study(*_: object) -> None:
    raise AssertionError("no study is needed")
