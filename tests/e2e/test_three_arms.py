"""A local, an adapter and a hosted arm in one study, and whatever wins deployed."""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.projects import (
    BASE,
    PATIENCE,
    Ended,
    Project,
    ended_of,
    members,
    running,
    said,
    submitted,
    trials_by_arm,
    until,
)

ARMS = {
    "local": """
    - backend: local
      base_model: all-MiniLM-L6-v2
      loss: batch_hard_triplet
      epochs: 1
      learning_rate: 5.0e-5
      batch_size: 32
      train_tokens: 16
""",
    "adapter": """
    - backend: adapter
      base_model: all-MiniLM-L6-v2
      head: linear
      loss: batch_hard_triplet
      epochs: 20
      learning_rate: 3.0e-3
      batch_size: 32
""",
    "hosted": """
    - backend: hosted
      base_model: all-MiniLM-L6-v2
      provider: loopback
      form: labelled
      epochs: 4
      learning_rate_multiplier: 10
      batch_size: 32
""",
}
GROUPS = ("apple hammer cloud", "river pencil tiger", "violin cement lemon")
FILLERS = ["green", "old", "seven", "quiet", "north", "paper", "early", "round", "under", "slow"]


def rows() -> list[dict[str, Any]]:
    """Texts whose labels are a matter of arbitrary words, which no base model can know."""
    drawn = random.Random(7)
    texts = {
        f"{drawn.choice(FILLERS)} {word} {' '.join(drawn.sample(FILLERS, 3))}": f"group {number}"
        for number, words in enumerate(GROUPS)
        for word in words.split()
        for _ in range(20)
    }
    return [{"text": text, "metadata": {"label": label}} for text, label in texts.items()]


def project_of(folder: Path, *arms: str) -> Project:
    project = Project(folder)
    project.write_rows("train.jsonl", rows())
    text = (
        "name: groups\n"
        "data: {train: train.jsonl, split: {valid: 0.2, test: 0.35, seed: 7}}\n"
        "objective: ndcg@10\n"
        f"search:\n  trials: {len(arms)}\n  seed: 7\n  arms:"
    )
    (folder / "groups.yaml").write_text(text + "".join(ARMS[arm] for arm in arms))
    return project


def jobs_at_the_service(project: Project) -> list[tuple[str, str]]:
    """The service's own list: id and status of every job it was ever asked for."""
    with sqlite3.connect(project.home / "loopback" / "fine-tuning.db") as database:
        return list(database.execute("SELECT id, status FROM jobs ORDER BY number"))


def port_file(project: Project) -> Path:
    return project.home / "loopback" / "port.json"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended, and what was seen while it trained at the service."""

    project: Project
    ended: Ended
    session: int
    port: int
    was_answering: bool
    processes: int

    @property
    def document(self) -> dict[str, Any]:
        return self.ended.document


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    project = project_of(tmp_path_factory.mktemp("project"), *ARMS)
    process = project.start("sweep", "groups.yaml", "--json")
    said(process, lambda line: line.startswith("trial 1: "))
    running(project, "groups")
    # The service trains in a process of its own.
    until(lambda: len(members(process.pid)) > 1)
    port = json.loads(port_file(project).read_text())
    seen = answers(port), len(members(process.pid))
    ended = ended_of(process)
    assert ended.code == 0, ended.err
    return Swept(project, ended, process.pid, port, *seen)


def test_every_arm_has_a_completed_trial_on_one_leaderboard(swept: Swept) -> None:
    best = trials_by_arm(swept.document)
    assert {arm: trial["recipe"]["kind"] for arm, trial in best.items()} == {
        arm: arm for arm in ARMS
    }
    board = swept.project.run("compare", "groups.yaml", "--json").document
    assert board == {name: value for name, value in swept.document.items() if name != "promotion"}
    scores = [trial["metrics"]["valid/ndcg_at_10"] for trial in board["trials"]]
    assert scores == sorted(scores, reverse=True)


def test_the_runs_are_told_apart_by_kind_and_share_their_columns(swept: Swept) -> None:
    columns = []
    for kind in ARMS:
        (by_kind,) = swept.project.runs("groups", f"params.kind = '{kind}'")
        (by_arm,) = swept.project.runs("groups", f"params.arm = '{kind}'")
        assert by_kind.info.run_id == by_arm.info.run_id
        metrics = by_kind.data.metrics
        columns.append({name for name in metrics if name.startswith("valid/")})
        assert ("trained_tokens" in metrics) is (kind == "hosted")
    assert columns[0] == columns[1] == columns[2] != set()


def test_the_best_of_all_is_judged(swept: Swept) -> None:
    winner = max(swept.document["trials"], key=lambda trial: trial["metrics"]["valid/ndcg_at_10"])
    assert swept.document["best"] == winner["number"]
    promotion = swept.document["promotion"]
    assert promotion["verdict"] == "promoted"
    assert promotion["champion_version"] == promotion["version"]


def test_the_service_is_gone_with_the_sweep(swept: Swept) -> None:
    # The control: it was there while the sweep ran, and trained in a process of its own.
    assert swept.was_answering
    assert swept.processes > 1
    assert not answers(swept.port)
    assert not port_file(swept.project).exists()
    assert members(swept.session) == []


@pytest.mark.slow
def test_again_it_trains_nothing_and_submits_no_job(swept: Swept) -> None:
    jobs, runs = jobs_at_the_service(swept.project), len(swept.project.runs("groups"))
    again = swept.project.run("sweep", "groups.yaml", "--json").document
    assert again == {
        **swept.document,
        "promotion": {**swept.document["promotion"], "recorded": True},
    }
    assert jobs_at_the_service(swept.project) == jobs
    assert [status for _, status in jobs] == ["succeeded"]
    assert len(swept.project.runs("groups")) == runs


@pytest.fixture(scope="module", params=["adapter", "hosted"])
def crowned(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep of that arm alone, whose champion is of that kind."""
    project = project_of(tmp_path_factory.mktemp(request.param), request.param).with_stores()
    ended = project.run("sweep", "groups.yaml", "--json")
    promotion = ended.document["promotion"]
    assert promotion["verdict"] == "promoted", promotion
    assert ended.document["trials"][0]["recipe"]["kind"] == request.param
    return Swept(project, ended, 0, 0, False, 0)


TEXT = "green tiger under slow"
CHAMPION = "models:/groups@champion"


@pytest.mark.slow
def test_a_champion_that_is_no_weights_is_served(crowned: Swept) -> None:
    with crowned.project.served("groups") as client:
        reply = client.embeddings.create(model="groups", input=[TEXT, "north hammer"])
        packed = client.embeddings.create(model="groups", input=TEXT, encoding_format="float")
    vector = reply.data[0].embedding
    assert len(vector) == len(reply.data[1].embedding) == 384
    assert vector == pytest.approx(packed.data[0].embedding, abs=1e-6)
    assert vector == pytest.approx(crowned.project.embed(CHAMPION, TEXT), abs=1e-5)
    # The control: it is not the untuned model.
    assert vector != pytest.approx(crowned.project.embed(BASE, TEXT), abs=1e-2)


@pytest.mark.slow
def test_a_champion_that_is_no_weights_is_evaluated(crowned: Swept) -> None:
    found = crowned.project.run("evaluate", CHAMPION, "groups.yaml", "--json").document
    (trial,) = crowned.document["trials"]
    assert found["metrics"] == pytest.approx(trial["metrics"], abs=1e-6)
    untuned = crowned.project.run("evaluate", BASE, "groups.yaml", "--json").document
    assert untuned["metrics"]["valid/ndcg_at_10"] < trial["metrics"]["valid/ndcg_at_10"]


@pytest.mark.slow
def test_a_champion_that_is_no_weights_is_exported(crowned: Swept) -> None:
    folder = crowned.project.folder / "exported"
    crowned.project.run("export", "groups", str(folder))
    # An adapter leaves a whole model; a hosted model's folder says where its provider is.
    is_adapter = crowned.document["trials"][0]["recipe"]["kind"] == "adapter"
    assert (folder / "modules.json").exists() == is_adapter
    assert (folder / "embedsweep.json").exists() != is_adapter
    vector = crowned.project.embed(str(folder), TEXT)
    assert vector == pytest.approx(crowned.project.embed(CHAMPION, TEXT), abs=1e-6)


@pytest.mark.slow
def test_killed_in_a_job_and_called_again_it_submits_no_second_one(tmp_path: Path) -> None:
    project = project_of(tmp_path, "adapter", "hosted").with_stores()
    experiment = project.folder / "groups.yaml"
    arm, _, hosted = experiment.read_text().rpartition("batch_size: 32")
    experiment.write_text(f"{arm}batch_size: 8{hosted}")  # long enough to be killed in
    first = project.start("sweep", "groups.yaml", "--json")
    said(first, lambda line: line.startswith("trial 0: "))
    until(lambda: submitted(project))
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=PATIENCE)
    (before,) = project.run("jobs", "--json").document
    assert before["state"] == "submitted"
    assert len(jobs_at_the_service(project)) == 1
    document = project.run("sweep", "groups.yaml", "--json").document
    assert set(trials_by_arm(document)) == {"adapter", "hosted"}
    (after,) = project.run("jobs", "--json").document
    assert (after["state"], after["attempt"]) == ("succeeded", 1)
    assert jobs_at_the_service(project) == [(before["job_id"], "succeeded")]
    statuses = {
        arm: sorted(run.info.status for run in project.runs("groups", f"params.arm = '{arm}'"))
        for arm in ("adapter", "hosted")
    }
    assert statuses == {"adapter": ["FINISHED"], "hosted": ["FINISHED", "KILLED"]}
    assert not port_file(project).exists()
