"""The public data of the benchmarks, as experiments of ours and as the pairs they train on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import yaml

from embedsweep.core.dataset import Dataset, TrainingSet
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import LocalRecipe, Loss
from embedsweep.wiring import load
from tests.benchmarks.sizes import SIZES
from tests.conftest import ROOT

FEW_LABELS, FEW_TEXTS, FEW_QUERIES, FEW_DOCUMENTS = 6, 12, 24, 60
"""What a quick look keeps of the public data."""


@dataclass(frozen=True)
class Workload:
    """A data set, and how one model is trained on it where speed or quality is compared.

    Attributes:
        name: Of the experiment file whose data it is.
        epochs, learning_rate, batch_size: The same on both sides.
        data: What differs from the experiment file's section on data.
    """

    name: str
    epochs: int
    learning_rate: float
    batch_size: int
    data: Mapping[str, Any]

    def recipe(self, base_model: str, seed: int) -> LocalRecipe:
        return LocalRecipe(
            base_model=base_model,
            loss=Loss.MULTIPLE_NEGATIVES_RANKING,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            seed=seed,
        )


BANKING77 = Workload("banking77", 3, 1e-4, 64, {})
SQUAD_MINI = Workload("squad-mini", 1, 2e-5, 64, {"max_train": SIZES.squad_pairs})
WORKLOADS = (BANKING77, SQUAD_MINI)


def experiment_file(workload: Workload, folder: Path, search: Mapping[str, Any]) -> Path:
    """The workload's experiment file with another search, written to a folder."""
    document = _experiment(workload)
    document["data"] |= workload.data
    document["search"] |= search
    path = folder / f"{workload.name}.yaml"
    path.write_text(json.dumps(document), "utf-8")  # JSON is YAML
    return path


def arms_of(workload: Workload) -> list[dict[str, Any]]:
    """The arms of the workload's experiment file, as they are written there."""
    arms: list[dict[str, Any]] = _experiment(workload)["search"]["arms"]
    return arms


def _experiment(workload: Workload) -> dict[str, Any]:
    text = (ROOT / "experiments" / f"{workload.name}.yaml").read_text("utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def opened(workload: Workload, folder: Path) -> tuple[Experiment, Dataset]:
    """The workload's experiment and data."""
    return load(experiment_file(workload, folder, {}))


def pairs_of(data: TrainingSet, seed: int) -> dict[str, list[str]]:
    """The training pairs as columns: those given, or each text with another one of its label.

    Where there are labels, each text is the anchor of one pair, as in our own epochs.
    """
    if data.pairs:
        pairs = [(pair.anchor, pair.positive) for pair in data.pairs]
    else:
        random, members = Random(seed), defaultdict(list)
        for row in data.texts:
            members[row.label].append(row.text)
        pairs = [
            (row.text, random.choice([text for text in members[row.label] if text != row.text]))
            for row in data.texts
            if len(set(members[row.label])) > 1
        ]
    return {
        "anchor": [anchor for anchor, _ in pairs],
        "positive": [positive for _, positive in pairs],
    }


def small_copy(source: Path, target: Path) -> None:
    """A few rows of the public data sets, in the layout of the whole."""
    banking, squad = target / BANKING77.name, target / SQUAD_MINI.name
    (squad / "qrels").mkdir(parents=True)
    banking.mkdir()
    for part in ("train", "test"):
        rows = _rows(source / BANKING77.name / f"{part}.jsonl")
        kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["metadata"]["label"]):
            kept[row["metadata"]["label"]].append(row)
        few = islice(kept.values(), FEW_LABELS)
        _write(banking / f"{part}.jsonl", [row for group in few for row in group[:FEW_TEXTS]])
    queries, documents = set(), set()
    for part in ("train", "dev", "test"):
        head, *lines = (source / SQUAD_MINI.name / "qrels" / f"{part}.tsv").read_text().splitlines()
        few_lines = lines[:FEW_QUERIES]
        (squad / "qrels" / f"{part}.tsv").write_text("\n".join([head, *few_lines]) + "\n")
        queries |= {line.split("\t")[0] for line in few_lines}
        documents |= {line.split("\t")[1] for line in few_lines}
    every = _rows(source / SQUAD_MINI.name / "corpus.jsonl")
    judged = [row for row in every if row["_id"] in documents]
    others = [row for row in every if row["_id"] not in documents]
    _write(squad / "corpus.jsonl", judged + others[: max(0, FEW_DOCUMENTS - len(judged))])
    asked = [row for row in _rows(source / SQUAD_MINI.name / "queries.jsonl")]
    _write(squad / "queries.jsonl", [row for row in asked if row["_id"] in queries])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
