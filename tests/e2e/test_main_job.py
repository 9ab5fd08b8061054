"""The main job through the command line: sweep, compare, promote, serve, as a user runs it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from embedsweep.core.experiment import DataSpec
from embedsweep.data import load_dataset
from tests.e2e.projects import Project, running, said

EXPERIMENT = """
name: docs
data: {train: passages.jsonl, split: {valid: 0.3, test: 0.4, seed: 7}}
objective: ndcg@10
search:
  trials: 2
  seed: 7
  scouts: 3
  finalists: {top: 1, seeds: 2}
  arms:
    - backend: local
      base_model: all-MiniLM-L6-v2
      loss: [multiple_negatives_ranking, cosent]
      epochs: 1
      learning_rate: {low: 1.0e-5, high: 5.0e-5, log: true}
      batch_size: 16
      train_tokens: 32
"""


def passages() -> list[dict[str, str]]:
    """So few of the built-in data set that a sweep over them is quick, its test split included."""
    data = load_dataset(DataSpec("python-docs", builtin="python-docs", max_train=200))
    return [{"anchor": pair.anchor, "positive": pair.positive} for pair in data.train.pairs]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"), OMP_NUM_THREADS="2").with_stores()
    project.write_rows("passages.jsonl", passages())
    (project.folder / "docs.yaml").write_text(EXPERIMENT)
    return project


@pytest.fixture(scope="module")
def swept(project: Project) -> dict[str, Any]:
    """The JSON document of a sweep that was killed in its second trial and called again."""
    first = project.start("sweep", "docs.yaml", "--json")
    said(first, lambda line: line.startswith("trial 0:"))
    running(project, "docs")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    left = [run.info.status for run in project.runs("docs")]
    assert left.count("RUNNING") == 1
    ended = project.run("sweep", "docs.yaml", "--json")
    page = next(line for line in ended.err.splitlines() if line.startswith("report: "))
    assert "<!doctype html>" in Path(page.removeprefix("report: ")).read_text().lower()
    document: dict[str, Any] = ended.document
    return document


def recorded(promotion: dict[str, Any]) -> dict[str, Any]:
    """The decision as later calls show it."""
    return {**promotion, "recorded": True}


def test_killed_and_called_again_it_loses_and_repeats_nothing(
    project: Project, swept: dict[str, Any]
) -> None:
    trials = swept["trials"]
    assert sorted(trial["number"] for trial in trials) == [0, 1]
    assert {trial["state"] for trial in trials} == {"completed"}
    statuses: dict[str, list[str]] = {}
    for run in project.runs("docs"):
        tags = run.data.tags
        name = f"{tags['embedsweep.role']}-{tags['embedsweep.number']}"
        statuses.setdefault(name, []).append(run.info.status)
    assert sorted(statuses["trial-1"]) == ["FINISHED", "KILLED"]
    others = {name: status for name, status in statuses.items() if name != "trial-1"}
    assert sorted(others) == ["baseline-0", "baseline-1", "finalist-0", "finalist-1", "trial-0"]
    assert set(map(tuple, others.values())) == {("FINISHED",)}


def test_the_first_trial_is_the_best_scouts_recipe(project: Project, swept: dict[str, Any]) -> None:
    (run,) = project.runs("docs", kind="sweep")
    client = MlflowClient(f"sqlite:///{project.home}/mlflow.db")
    scouts = json.loads(Path(client.download_artifacts(run.info.run_id, "scouts.json")).read_text())
    assert len(scouts) == 3
    assert all(0 < scout["score"] < 1 for scout in scouts)
    best = max(scouts, key=lambda scout: scout["score"])
    first = next(trial for trial in swept["trials"] if trial["number"] == 0)
    assert first["recipe"] == best["recipe"]


def test_every_run_has_retrieval_and_classification_measures(swept: dict[str, Any]) -> None:
    repeats = [trial for found in swept["finalists"] for trial in found["repeats"]]
    assert len(repeats) == 2
    for trial in [*swept["trials"], *swept["baselines"], *repeats]:
        metrics = trial["metrics"]
        assert {"valid/ndcg_at_10", "valid/mrr_at_10", "valid/map"} <= set(metrics)
        assert "valid/relevance_average_precision" in metrics
        assert all(0 <= value <= 1 for value in metrics.values())


def test_a_finished_sweep_is_not_run_again(project: Project, swept: dict[str, Any]) -> None:
    before = len(project.runs("docs"))
    again = project.call("sweep", "docs.yaml", "--json").document
    assert len(project.runs("docs")) == before
    assert again["best"] == swept["best"]
    assert again["promotion"] == recorded(swept["promotion"])
    assert len(project.runs("docs", kind="promotion")) == 1


def test_a_changed_experiment_is_another_sweep(project: Project, swept: dict[str, Any]) -> None:
    (project.folder / "docs.yaml").write_text(EXPERIMENT.replace("ndcg@10", "mrr@10"))
    ended = project.call("sweep", "docs.yaml", code=2)
    (project.folder / "docs.yaml").write_text(EXPERIMENT)
    assert "objective was ndcg@10, is mrr@10" in ended.err
    assert "--new-study" in ended.err


def test_compare_shows_the_leaderboard(project: Project, swept: dict[str, Any]) -> None:
    shown = project.call("compare", "docs.yaml").out
    assert "untuned all-MiniLM-L6-v2" in shown
    assert "bm25" in shown
    document = project.call("compare", "docs.yaml", "--json").document
    assert document["best"] == swept["best"]
    scores = [trial["metrics"]["valid/ndcg_at_10"] for trial in document["trials"]]
    assert scores == sorted(scores, reverse=True)
    for trial, score in zip(document["trials"], scores, strict=True):
        assert trial["interval"][0] < score < trial["interval"][1]
    real = [each["real"] for each in document["differences"]]
    assert len(real) == 6
    assert f"{sum(real)} of 6 pairs of models really differ" in shown


def test_the_best_recipe_is_trained_on_further_seeds_and_one_of_those_is_promoted(
    project: Project, swept: dict[str, Any]
) -> None:
    [finalist] = swept["finalists"]
    assert finalist["of"] == f"t{swept['best']}"
    best = next(trial for trial in swept["trials"] if trial["number"] == swept["best"])
    recipes = [trial["recipe"] for trial in (best, *finalist["repeats"])]
    assert len({recipe["seed"] for recipe in recipes}) == 3
    assert [{**recipe, "seed": 0} for recipe in recipes] == [{**best["recipe"], "seed": 0}] * 3
    scores = {
        f"f{trial['number']}": trial["metrics"]["valid/ndcg_at_10"] for trial in finalist["repeats"]
    }
    assert finalist["mean"] == pytest.approx(sum(scores.values()) / 2)
    # The lower of two stands for what the recipe usually gives.
    assert swept["candidate"] == min(scores, key=scores.__getitem__)


def test_compare_shows_the_texts_on_which_two_models_differ(
    project: Project, swept: dict[str, Any]
) -> None:
    found = project.call("compare", "docs.yaml", "t0", "b1", "--top", "2", "--json").document
    assert (found["a"]["name"], found["b"]["name"]) == ("t0", "b1")
    asked = {row["anchor"]: row["positive"] for row in passages()}
    for row in (*found["a_better"], *found["b_better"]):
        query, relevant, *_ = (part["text"] for part in row["texts"])
        assert asked[query] == relevant
    assert 0 < len(found["a_better"]) <= 2
    shown = project.call("compare", "docs.yaml", "champion", "b1").out
    assert "champion (version" in shown
    assert "where b1 is better" in shown


def test_compare_says_which_models_there_are(project: Project, swept: dict[str, Any]) -> None:
    ended = project.call("compare", "docs.yaml", "t7", "b0", code=2)
    assert "model 't7' in the sweep: it has t0 to t1, b0 to b1" in ended.err
    ended = project.call("compare", "docs.yaml", "t0", code=2)
    assert "1 model to compare" in ended.err
    ended = project.call("compare", "docs.yaml", "--top", "3", code=2)
    assert "name two models" in ended.err
    ended = project.call("compare", "docs.yaml", "t0", "b0", "--measure", "ndgc@10", code=2)
    assert "'ndgc@10' is no measure" in ended.err


def test_history_and_promote_stand(project: Project, swept: dict[str, Any]) -> None:
    promotion = swept["promotion"]
    rows = project.call("history", "docs", "--json").document
    assert [row["verdict"] for row in rows] == [promotion["verdict"]]
    code = 0 if promotion["verdict"] == "promoted" else 5
    assert project.call("promote", "docs.yaml", "--json", code=code).document == recorded(promotion)


def test_an_edited_record_ends_promotion_and_shows_what_the_sweep_found(
    project: Project, swept: dict[str, Any]
) -> None:
    client = MlflowClient(f"sqlite:///{project.home}/mlflow.db")
    tag = "embedsweep.record.000001"
    written = client.get_registered_model("docs").tags[tag]
    client.set_registered_model_tag("docs", tag, written.replace('"alpha":0.025', '"alpha":0.0'))
    try:
        ended = project.call("sweep", "docs.yaml", code=3)
        doctor = project.call("doctor", code=3)
    finally:
        client.set_registered_model_tag("docs", tag, written)
    assert "docs: 2 trials" in ended.out
    assert "the record of looks and decisions in registered model 'docs'" in ended.err
    assert "the record of looks and decisions" in doctor.out + doctor.err
    again = project.call("sweep", "docs.yaml", "--json").document["promotion"]
    assert again == recorded(swept["promotion"])


def test_the_champion_is_served(project: Project, swept: dict[str, Any]) -> None:
    promotion = swept["promotion"]
    with project.served("docs") as client:
        floats = client.embeddings.create(
            model="docs", input=["how to sort a list", "open a file"], encoding_format="float"
        )
        packed = client.embeddings.create(model="docs", input="how to sort a list")
        assert [model.id for model in client.models.list()]
    assert len(floats.data) == 2
    assert len(floats.data[0].embedding) == 384
    assert floats.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-6)
    reference = f"models:/docs/{promotion['champion_version']}"
    by_hand = project.embed(reference, "how to sort a list")
    assert floats.data[0].embedding == pytest.approx(by_hand, abs=1e-5)
