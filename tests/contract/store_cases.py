"""Small sweeps, trials and models that the tests of the stores share."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from embedsweep.config import StoreLocations
from embedsweep.core.dataset import Benchmark, Dataset, Pair, RetrievalTask, Split, TrainingSet
from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.looks import AlphaPlan, LookRequest, sketch_of
from embedsweep.core.losses import MetricDifference
from embedsweep.core.ports import Ledger, OpenSweep, Registry, Sweep, TrialEnd, TrialStart
from embedsweep.core.promotion import Comparison, Decision, Verdict
from embedsweep.core.recipe import BaselineRecipe, LocalRecipe, Loss
from embedsweep.core.report import Measure, Report
from embedsweep.core.trial import Completed, Role, Trial
from embedsweep.stores.connection import open_client
from embedsweep.stores.memory import MemoryLedger, MemoryRegistry
from embedsweep.stores.mlflow_ledger import MlflowLedger
from embedsweep.stores.mlflow_registry import MlflowRegistry
from embedsweep.stores.registry_locks import turns_at

NDCG = Measure("ndcg", 10)
MRR = Measure("mrr", 10)
ACCURACY = Measure("accuracy")
STORES = ("memory", "mlflow")


@dataclass
class Stores:
    """A ledger and a registry over the same store.

    Attributes:
        ledger, registry: The two.
        folder: Holds all they keep, and is empty of anything else.
    """

    ledger: Ledger
    registry: Registry
    folder: Path

    def model_folder(self, reference: str) -> Path:
        """Where the files of ``models:/m-…`` lie."""
        found = next(self.folder.rglob(reference.removeprefix("models:/")))
        return found / "artifacts" if (found / "artifacts").is_dir() else found


def sqlite_settings(folder: Path, base: Path) -> StoreLocations:
    """Settings of a SQLite store in ``folder`` whose schema is made already.

    Args:
        folder: Where the store goes.
        base: Where one store is made to copy from; making the schema takes seconds.
    """
    template = base / "store-template" / "mlflow.db"
    if not template.exists():
        open_client(_settings(template.parent))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(template, folder / "mlflow.db")
    return _settings(folder)


def open_stores(kind: str, folder: Path, base: Path, page: int = 1000) -> Stores:
    """Stores of a kind in ``folder``; the rest as in `sqlite_settings`."""
    if kind == "memory":
        models = folder / "models"
        models.mkdir(parents=True)
        return Stores(MemoryLedger(models), MemoryRegistry(models), folder)
    settings = sqlite_settings(folder, base)
    client = open_client(settings)
    ledger = MlflowLedger(client, settings.artifacts, page)
    return Stores(ledger, MlflowRegistry(client, turns_at("", folder / "locks"), page), folder)


def dataset() -> Dataset:
    train = TrainingSet(pairs=(Pair("a", "b"), Pair("c", "d")))
    task = RetrievalTask({"q": "a"}, {"d": "b"}, {"q": {"d": 1}})
    return Dataset(
        name="support",
        format="pairs",
        train=train,
        valid=Benchmark("support", Split.VALID, retrieval=task),
        sealed_test=lambda: Benchmark("support", Split.TEST, retrieval=task),
        rows={Split.TRAIN: 2, Split.VALID: 1, Split.TEST: 1},
        digests={split: fingerprint(split.value) for split in Split},
        sources={split: f"{split.value}.jsonl" for split in Split},
    )


def sweep(name: str = "support-search", trials: int = 3) -> Sweep:
    identity = {"space": {"arms": ["local"]}, "trials": trials}
    return Sweep(name, "ndcg@10", identity, fingerprint(identity), dataset(), f"name: {name}\n")


def start(number: int = 0, rate: float = 1e-4) -> TrialStart:
    recipe = LocalRecipe(
        base_model="all-MiniLM-L6-v2",
        loss=Loss.TRIPLET,
        epochs=2,
        learning_rate=rate,
        batch_size=32,
        seed=7,
        margin=0.3,
    )
    return TrialStart(number, Role.TRIAL, "local", recipe, fingerprint(number, rate))


def baseline(number: int = 0, method: str = "untuned") -> TrialStart:
    base_model = "all-MiniLM-L6-v2" if method == "untuned" else None
    recipe = BaselineRecipe(method=method, base_model=base_model)
    return TrialStart(number, Role.BASELINE, "baseline", recipe, fingerprint(method))


def report(score: float = 0.5, split: str = "valid") -> Report:
    return Report(
        benchmark="b" * 64,
        split=split,
        means={NDCG: score, ACCURACY: 0.25},
        scores={NDCG: {"q": score}, ACCURACY: {"q": 0.25}},
        facts={"dimension": 4.0, "tie_rate": 0.0},
    )


def write_model(folder: Path, seed: int = 0, kilobytes: int = 4) -> Path:
    """A folder such as a backend leaves, with weights of ``kilobytes`` that ``seed`` decides."""
    (folder / "1_Pooling").mkdir(parents=True)
    weights = np.random.default_rng(seed).standard_normal((kilobytes, 256), dtype=np.float32)
    save_file({"embeddings": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"hidden_size": 256, "seed": seed}))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    (folder / "README.md").write_text("# A model\n")
    return folder


def run_trial(stores: Stores, opened: OpenSweep, started: TrialStart, score: float = 0.5) -> Trial:
    """A trial that completes with a model of its own."""
    run_id = stores.ledger.start(opened, dataset(), started)
    model = write_model(
        stores.folder.parent / f"{stores.folder.name}-trained-{run_id}", started.number
    )
    end = TrialEnd(
        Completed(), seconds=1.5, peak_memory=123_456_789, report=report(score), model=model
    )
    return stores.ledger.finish(run_id, started, end)


FIVE_LOOKS = AlphaPlan()


def look_request(
    model: str, benchmark: str = "e", candidate: str = "c", plan: AlphaPlan = FIVE_LOOKS
) -> LookRequest:
    return LookRequest(
        model=model,
        benchmark=benchmark,
        sketch=sketch_of([f"{benchmark} {row}" for row in range(100)]),
        candidate_fingerprint=candidate,
        candidate_run="a",
        at="2026-01-01T00:00:00+00:00",
        by="someone",
        plan=plan,
    )


def decision(model: str, look: int = 1, verdict: Verdict = Verdict.PROMOTED) -> Decision:
    comparison = Comparison(
        measure=NDCG,
        candidate=0.6,
        rival=0.5,
        gain=0.1,
        interval=(0.05, 0.15),
        p_value=0.001,
        n=100,
        units=100,
        wins=60,
        ties=20,
        losses=20,
        smallest_detectable=0.03,
        guards={ACCURACY: 0.0},
        differences=(MetricDifference(MRR, 0.7, 0.6, (0.05, 0.15), 100, 100, 0.9),),
    )
    return Decision(
        verdict=verdict,
        model=model,
        version=1,
        previous_version=None,
        champion_version=1,
        comparison=comparison,
        trials_tried=3,
        look=look,
        alpha=0.025,
        reasons=("gain +0.1000",),
        candidate_run="a",
        rival_run="b",
        candidate_fingerprint="c",
        rival_fingerprint="d",
        benchmark="e",
        at="2026-01-01T00:00:00+00:00",
        by="tester",
    )


def _settings(folder: Path) -> StoreLocations:
    return StoreLocations(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        study_url=f"sqlite:///{folder / 'study.db'}",
        home=folder,
    )
