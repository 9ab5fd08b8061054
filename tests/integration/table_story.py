"""An experiment over tables of random vectors, and the services to run it with."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from embedsweep.core.bill import Bill
from embedsweep.core.experiment import DataSpec, Experiment
from embedsweep.core.ports import Backend
from embedsweep.core.report import Measure
from embedsweep.core.space import Arm, Choice, Integers, SearchSpace, Uniform
from embedsweep.reporting.model_card import model_card
from embedsweep.stores.memory import MemoryLedger, MemoryRegistry
from embedsweep.stores.study import open_study
from embedsweep.workflows.services import Services, Silent
from tests.integration.table_backend import table_dataset

MRR = Measure("mrr", 10)
DATASET = table_dataset()


def experiment(**changes: object) -> Experiment:
    knobs = {
        "base_model": Choice(("table",)),
        "loss": Choice(("multiple_negatives_ranking", "cosent")),
        "epochs": Integers(1, 3),
        "learning_rate": Uniform(1e-5, 1e-3, log=True),
        "batch_size": Choice((8,)),
    }
    plain = Experiment(
        name="topics",
        path=Path("topics.yaml"),
        text="name: topics\n",
        data=DataSpec("topics", builtin="memory"),
        objective=MRR,
        space=SearchSpace((Arm("local", "local", knobs),), seed=7),
        trials=6,
        model="topics",
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def services_of(tmp_path: Path, backend: Backend) -> Services:
    models, work = tmp_path / "models", tmp_path / "work"
    models.mkdir()
    work.mkdir()
    return Services(
        ledger=MemoryLedger(models),
        registry=MemoryRegistry(models),
        backends={"local": backend},
        kind_of=lambda folder: "local",
        open_live=backend.open,
        card=model_card,
        open_study=partial(open_study, f"sqlite:///{tmp_path}/study.db"),
        bill=Bill,
        work=work,
        progress=Silent(),
    )
