"""Every architecture through every command: each cell works, or is rejected with its message."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from openai import OpenAI
from sentence_transformers import SentenceTransformer

from tests.e2e.projects import Project
from tests.integration.tiny_architectures import (
    ARCHITECTURES,
    BROKEN,
    POSITIONS,
    make_broken,
    make_model,
    rows_of,
    sentences,
)

COMMANDS = ("check", "sweep", "promote", "serve", "export")
ASKED = [*(text for text, _ in sentences(5, seed=9)), "please help with my parcel " * 40]


def project_on(folder: Path, base: Path) -> Project:
    """One trial on a base model, with texts that are longer than it reads."""
    folder.mkdir()
    project = Project(folder).with_stores()
    rows = sentences(150)
    rows[::10] = [(f"{text} {'please help ' * 60}", topic) for text, topic in rows[::10]]
    parts = {"train": rows[:80], "valid": rows[80:115], "test": rows[115:]}
    for name, part in parts.items():
        project.write_rows(f"{name}.jsonl", rows_of(part))
    arm = {"backend": "local", "base_model": str(base), "epochs": 2, "batch_size": 16}
    experiment = {
        "name": "topics",
        "data": {name: f"{name}.jsonl" for name in parts},
        "objective": "ndcg@10",
        "search": {"trials": 1, "arms": [{**arm, "learning_rate": 5e-4}]},
        "promotion": {"model": "topics", "confidence": 0.6},
    }
    (folder / "topics.yaml").write_text(yaml.safe_dump(experiment))
    return project


class Row:
    """What the commands make of one model.

    Attributes:
        served: Vectors over HTTP, (texts, dimension).
    """

    served: np.ndarray

    def __init__(self, project: Project) -> None:
        self.project = project

    def check(self) -> str:
        found = self.project.call("check", "topics.yaml", "--json").document
        (share,) = found["truncated_share"].values()
        assert found["ok"]
        assert share > 0
        assert any(f"the {POSITIONS} tokens" in note for note in found["warnings"])
        return "ok"

    def sweep(self) -> str:
        board = self.project.call("sweep", "topics.yaml", "--no-promote", "--json").document
        trials = [*board["baselines"], *board["trials"]]
        assert [trial["state"] for trial in trials] == ["completed"] * 2, trials
        return "ok"

    def promote(self) -> str:
        told = self.project.call("promote", "topics.yaml", "--json", code=(0, 5)).document
        assert told["champion"] is not None
        return str(told["verdict"])

    def serve(self) -> str:
        with self.project.served("topics") as client:
            self.served = embeddings(client)
        assert np.allclose(np.linalg.norm(self.served, axis=1), 1, atol=1e-5)
        return f"{self.served.shape[1]} wide"

    def export(self) -> str:
        self.project.call("export", "topics", "exported")
        model = SentenceTransformer(str(self.project.folder / "exported"), device="cpu")
        assert {each.dtype.itemsize for each in model.parameters()} == {4}
        vectors = model.encode(ASKED, normalize_embeddings=True)
        off = float(np.abs(vectors - self.served).max())
        assert off < 1e-5
        return f"off by {off:.0e}"


def embeddings(client: OpenAI) -> np.ndarray:
    reply = client.embeddings.create(model="topics", input=ASKED)
    return np.array([row.embedding for row in reply.data], dtype=np.float32)


def show(name: str, cells: list[str]) -> None:
    sys.stdout.write("\n" + "  ".join(f"{cell:>13}" for cell in [f"{name:<30}", *cells]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_command_works_with_the_architecture(name: str, tmp_path: Path) -> None:
    row = Row(project_on(tmp_path / "project", make_model(name, tmp_path / "base")))
    cells = []
    for command in COMMANDS:
        act: Callable[[], str] = getattr(row, command)
        cells.append(act())
    show(name, cells)
    assert cells[:2] == ["ok", "ok"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_cannot_embed_is_rejected_once_before_any_trial(
    name: str, tmp_path: Path
) -> None:
    base = make_broken(name, tmp_path / "base")
    project = project_on(tmp_path / "project", base)
    for words in (["check"], ["sweep", "--no-promote"]):
        told = project.call(*words, "topics.yaml", code=3).err
        errors = [line for line in told.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert errors[0].startswith(f"error: base model '{base}' in ")
        assert re.search(BROKEN[name][1], errors[0])
    assert "it has no sweep" in project.call("compare", "topics.yaml", code=2).err
    show(name, ["rejected", "rejected"])
