"""The main job through the command line: sweep, compare, promote, serve, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from openai import OpenAI

from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset

EXPERIMENT = """
name: docs
data: {train: passages.jsonl, split: {valid: 0.3, test: 0.4, seed: 7}}
objective: ndcg@10
search:
  trials: 3
  seed: 7
  arms:
    - backend: local
      base_model: all-MiniLM-L6-v2
      loss: [multiple_negatives_ranking, cosent]
      epochs: 1
      learning_rate: {low: 1.0e-5, high: 5.0e-5, log: true}
      batch_size: 16
      train_tokens: 32
"""


def passages() -> str:
    """So few of the built-in data set that a sweep over them is quick, its test split included."""
    data = load_dataset(DataSpec("python-docs", builtin="python-docs", max_train=200))
    rows = ({"anchor": pair.anchor, "positive": pair.positive} for pair in data.train.pairs)
    return "".join(json.dumps(row) + "\n" for row in rows)


class Project:
    """A user's folder with an experiment and stores of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.experiment = folder / "docs.yaml"
        self.experiment.write_text(EXPERIMENT)
        (folder / "passages.jsonl").write_text(passages())
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("EMBEDSWEEP_", "MLFLOW_"))},
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "HF_HUB_OFFLINE": "1",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "embedsweep", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, err
        assert "Traceback" not in err
        return out

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")

    def runs(self, kind: str) -> list[object]:
        client = self.client
        experiment = client.get_experiment_by_name("docs")
        assert experiment is not None
        return list(
            client.search_runs([experiment.experiment_id], f"tags.`embedsweep.kind` = '{kind}'")
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def swept(project: Project) -> dict[str, object]:
    """The JSON document of a sweep that was killed in its second trial and called again."""
    first = project.start("sweep", "docs.yaml", "--json")
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("trial 1:"):
            break
    first.send_signal(signal.SIGKILL)
    first.communicate()
    left = [run.info.status for run in project.runs("trial")]  # type: ignore[attr-defined]
    assert left.count("RUNNING") == 1
    document: dict[str, object] = json.loads(project.run("sweep", "docs.yaml", "--json"))
    return document


def test_killed_and_called_again_it_loses_and_repeats_nothing(
    project: Project, swept: dict[str, object]
) -> None:
    trials = swept["trials"]
    assert isinstance(trials, list)
    assert sorted(trial["number"] for trial in trials) == [0, 1, 2]
    assert {trial["state"] for trial in trials} == {"completed"}
    statuses: dict[str, list[str]] = {}
    for run in project.runs("trial"):
        data = run.data.tags  # type: ignore[attr-defined]
        name = f"{data['embedsweep.role']}-{data['embedsweep.number']}"
        statuses.setdefault(name, []).append(run.info.status)  # type: ignore[attr-defined]
    assert sorted(statuses["trial-1"]) == ["FINISHED", "KILLED"]
    others = {name: status for name, status in statuses.items() if name != "trial-1"}
    assert len(others) == 4
    assert set(map(tuple, others.values())) == {("FINISHED",)}


def test_every_run_has_retrieval_and_classification_measures(swept: dict[str, object]) -> None:
    for trial in [*swept["trials"], *swept["baselines"]]:  # type: ignore[misc]
        metrics = trial["metrics"]
        assert {"valid/ndcg_at_10", "valid/mrr_at_10", "valid/map"} <= set(metrics)
        assert "valid/relevance_average_precision" in metrics
        assert all(0 <= value <= 1 for value in metrics.values())


def test_a_finished_sweep_is_not_run_again(project: Project, swept: dict[str, object]) -> None:
    before = len(project.runs("trial"))
    again = json.loads(project.run("sweep", "docs.yaml", "--json"))
    assert len(project.runs("trial")) == before
    assert again["best"] == swept["best"]
    assert again["promotion"] == swept["promotion"]
    assert len(project.runs("promotion")) == 1


def test_a_changed_experiment_is_another_sweep(project: Project, swept: dict[str, object]) -> None:
    project.experiment.write_text(EXPERIMENT.replace("ndcg@10", "mrr@10"))
    process = project.start("sweep", "docs.yaml")
    _, err = process.communicate(timeout=300)
    project.experiment.write_text(EXPERIMENT)
    assert process.returncode == 2
    assert "objective was ndcg@10, is mrr@10" in err
    assert "--new-study" in err


def test_compare_shows_the_leaderboard(project: Project, swept: dict[str, object]) -> None:
    shown = project.run("compare", "docs.yaml")
    assert "untuned all-MiniLM-L6-v2" in shown
    assert "bm25" in shown
    document = json.loads(project.run("compare", "docs.yaml", "--json"))
    assert document["best"] == swept["best"]
    scores = [trial["metrics"]["valid/ndcg_at_10"] for trial in document["trials"]]
    assert scores == sorted(scores, reverse=True)


def test_history_and_promote_stand(project: Project, swept: dict[str, object]) -> None:
    promotion = swept["promotion"]
    assert isinstance(promotion, dict)
    rows = json.loads(project.run("history", "docs", "--json"))
    assert [row["verdict"] for row in rows] == [promotion["verdict"]]
    code = 0 if promotion["verdict"] == "promoted" else 5
    again = json.loads(project.run("promote", "docs.yaml", "--json", code=code))
    assert again == promotion


def test_the_champion_is_served(project: Project, swept: dict[str, object]) -> None:
    promotion = swept["promotion"]
    assert isinstance(promotion, dict)
    with served(project) as client:
        floats = client.embeddings.create(
            model="docs", input=["how to sort a list", "open a file"], encoding_format="float"
        )
        packed = client.embeddings.create(model="docs", input="how to sort a list")
        assert [model.id for model in client.models.list()]
    assert len(floats.data) == 2
    assert len(floats.data[0].embedding) == 384
    assert floats.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-6)
    reference = f"models:/docs/{promotion['champion_version']}"
    by_hand = subprocess.run(
        [sys.executable, "-m", "embedsweep", "embed", reference, "--json"],
        input="how to sort a list\n",
        capture_output=True,
        text=True,
        cwd=project.folder,
        env=project.environment,
        check=True,
    )
    vector = json.loads(by_hand.stdout)["embeddings"][0]
    assert floats.data[0].embedding == pytest.approx(vector, abs=1e-5)


@contextmanager
def served(project: Project) -> Iterator[OpenAI]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = project.start("serve", "docs", "--port", str(port))
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("serving "):
                break
        yield OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
