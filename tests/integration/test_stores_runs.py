"""What a sweep looks like in MLflow to anybody who opens it there."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from embedsweep.core.dataset import ScoredPair, TrainingSet
from embedsweep.core.errors import Refusal, StoreError, UsageError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.recipe import recipe_as_dict
from embedsweep.core.trial import Completed, Failed, Pruned
from embedsweep.stores.mlflow_ledger import MlflowLedger
from embedsweep.stores.mlflow_run import Tag
from embedsweep.stores.owner import Owner
from tests.contract.store_cases import (
    baseline,
    dataset,
    decision,
    open_stores,
    report,
    run_trial,
    sqlite_settings,
    start,
    sweep,
    write_model,
)


@pytest.fixture
def stores(tmp_path, tmp_path_factory):
    return open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp())


@pytest.fixture
def ledger(stores):
    return stores.ledger


@pytest.fixture
def client(ledger):
    return ledger.client


@pytest.fixture
def opened(ledger):
    return ledger.begin(sweep())


def _artefacts(client, run_id):
    return sorted(file.path for file in client.list_artifacts(run_id))


def test_the_experiment_names_its_measure_and_keeps_its_files_where_told(client, opened, stores):
    experiment = client.get_experiment_by_name("support-search")
    assert experiment.artifact_location == (stores.folder / "artifacts/support-search").as_uri()
    assert experiment.tags["mlflow.experimentKind"] == "finetuning"
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "valid/ndcg_at_10"
    assert experiment.tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "true"


def test_a_sweep_is_a_parent_run_that_says_what_it_was(client, opened):
    run = client.get_run(opened.run_id)
    assert run.info.run_name == "sweep-support-search"
    assert run.info.status == "RUNNING"
    assert run.data.tags[Tag.KIND] == "sweep"
    assert run.data.tags[Tag.DIGEST] == sweep().digest
    assert _artefacts(client, opened.run_id) == ["experiment.yaml", "identity.json"]


def test_the_params_of_a_run_state_the_scale_of_scored_pairs(client, ledger, opened):
    pairs = tuple(ScoredPair(f"a {n}", f"b {n}", float(n)) for n in range(6))
    scored = TrainingSet(scored=pairs, score_range=(0.0, 5.0))
    runs = [
        client.get_run(ledger.start(opened, replace(dataset(), train=train), start(number)))
        for number, train in enumerate((scored, dataset().train))
    ]
    assert [run.data.params.get("data/score_range") for run in runs] == ["0 to 5", None]


def test_a_trial_is_a_child_run_with_recipe_data_measures_and_model(client, stores, opened):
    ledger, started = stores.ledger, start(7)
    run_id = ledger.start(opened, dataset(), started)
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": 0.3, "train/loss": 1.0})
    ledger.epoch(run_id, 2, {"valid/ndcg_at_10": 0.5, "train/loss": 0.5})
    end = TrialEnd(
        Completed(),
        2.5,
        2**21,
        report(0.5),
        write_model(stores.folder.parent / "trained"),
        {"precision": "float32", "epochs": "what a recipe says stands"},
    )
    trial = ledger.finish(run_id, started, end)

    run = client.get_run(run_id)
    assert run.info.run_name == "trial-0007-local-triplet"
    assert run.data.tags["mlflow.parentRunId"] == opened.run_id
    assert Owner.parse(run.data.tags[Tag.OWNER]) == Owner.here()
    recipe = {name: str(value) for name, value in recipe_as_dict(started.recipe).items()}
    assert run.data.params == {**recipe, "arm": "local", "precision": "float32"}
    assert run.data.metrics == {
        "valid/ndcg_at_10": 0.5,
        "valid/accuracy": 0.25,
        "train/loss": 0.5,
        "seconds": 2.5,
        "peak_memory_mb": 2.0,
        "facts/dimension": 4.0,
        "facts/tie_rate": 0.0,
    }
    steps = client.get_metric_history(run_id, "valid/ndcg_at_10")
    assert sorted((metric.step, metric.value) for metric in steps)[:2] == [(1, 0.3), (2, 0.5)]
    assert _artefacts(client, run_id) == ["outcome.json", "recipe.json", "report.json"]

    inputs = {given.tags[0].value: given.dataset for given in run.inputs.dataset_inputs}
    assert inputs["training"].name == "train"
    assert inputs["validation"].name == "valid"
    assert inputs["validation"].digest == list(dataset().digests.values())[1][:32]
    assert json.loads(inputs["training"].profile) == {"dataset": "support", "rows": 2}

    assert [f"models:/{made.model_id}" for made in run.outputs.model_outputs] == [
        trial.model_reference
    ]
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert str(model.status) == "READY"
    assert model.model_type == "embedding"
    assert model.source_run_id == run_id
    assert model.params["learning_rate"] == "0.0001"
    assert model.tags[Tag.MANIFEST]
    measured = {metric.key: metric for metric in model.metrics}
    assert measured["valid/ndcg_at_10"].value == 0.5
    assert measured["valid/ndcg_at_10"].dataset_name == "valid"


def test_a_sweep_that_could_not_be_written_whole_is_not_found(ledger, stores):
    (stores.folder / "artifacts").write_text("in the way")
    with pytest.raises(StoreError, match="failure to begin the sweep"):
        ledger.begin(sweep())
    (stores.folder / "artifacts").unlink()
    assert ledger.latest("support-search") is None
    opened = ledger.begin(sweep())
    assert ledger.latest("support-search") == opened


def test_baselines_are_named_for_what_they_are(client, ledger, opened):
    names = {}
    for number, method in enumerate(("untuned", "bm25")):
        run_id = ledger.start(opened, dataset(), baseline(number, method))
        names[method] = client.get_run(run_id).info.run_name
    assert names == {"untuned": "baseline-0-untuned", "bm25": "baseline-1-bm25"}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Completed(), "FINISHED"),
        (Pruned(1), "KILLED"),
        (Failed("collapsed", "all vectors are equal"), "FAILED"),
    ],
)
def test_a_run_ends_as_its_trial_did(client, ledger, opened, outcome, status):
    run_id = ledger.start(opened, dataset(), start())
    assert client.get_run(run_id).info.status == "RUNNING"
    ledger.finish(run_id, start(), TrialEnd(outcome, 1.0))
    run = client.get_run(run_id)
    assert run.info.status == status
    assert run.data.tags[Tag.STATE] == type(outcome).__name__.lower()
    if isinstance(outcome, Failed):
        assert run.data.tags[Tag.FAILURE_KIND] == "collapsed"
        assert run.data.tags[Tag.FAILURE_MESSAGE] == "all vectors are equal"


def test_interrupted_and_reaped_runs_end_killed_and_say_so(client, ledger, opened):
    abandoned = ledger.start(opened, dataset(), start(0))
    left = ledger.start(opened, dataset(), start(1))
    ledger.abandon(abandoned)
    ledger.end(opened, "KILLED", {"trials": 2.0})
    assert client.get_run(opened.run_id).info.status == "KILLED"
    ledger.resume(opened)
    assert client.get_run(opened.run_id).info.status == "RUNNING"
    for run_id in (abandoned, left):
        run = client.get_run(run_id)
        assert run.info.status == "KILLED"
        assert run.data.tags[Tag.INTERRUPTED] == "true"
    assert Tag.REAPED not in client.get_run(abandoned).data.tags
    assert client.get_run(left).data.tags[Tag.REAPED] == "true"


def test_an_infinity_is_left_out_and_named(client, opened, tmp_path):
    ledger = MlflowLedger(client, str(tmp_path), delay=0.0)
    run_id = ledger.start(opened, dataset(), start())
    ledger.epoch(run_id, 1, {"valid/ndcg_at_10": float("inf"), "train/loss": 1.0})
    run = client.get_run(run_id)
    assert run.data.metrics == {"train/loss": 1.0}
    assert run.data.tags[Tag.NON_FINITE] == "valid/ndcg_at_10"


def test_a_promotion_is_a_run_with_both_reports(client, ledger, opened):
    reports = {"candidate": report(0.6, "test"), "rival": report(0.5, "test")}
    run = client.get_run(ledger.record_promotion(opened, decision("support", look=3), reports))
    assert run.info.run_name == "promotion-3"
    assert run.info.status == "FINISHED"
    assert run.data.tags[Tag.KIND] == "promotion"
    assert run.data.metrics["candidate/test/ndcg_at_10"] == 0.6
    assert run.data.metrics["rival/test/ndcg_at_10"] == 0.5
    assert run.data.metrics["gain"] == 0.1
    assert run.data.metrics["p_value"] == 0.001
    assert run.data.metrics["difference/mrr_at_10"] == pytest.approx(0.1)
    assert run.data.metrics["p_worse/mrr_at_10"] == 0.9
    assert _artefacts(client, run.info.run_id) == ["candidate.json", "decision.json", "rival.json"]


_COORDINATOR = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.contract.store_cases import dataset, open_stores, start, sweep
stores = open_stores("mlflow", Path(sys.argv[1]), Path(sys.argv[2]))
opened = stores.ledger.begin(sweep())
stores.ledger.start(opened, dataset(), start(4))
print("started", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def coordinator(tmp_path, tmp_path_factory, stores):
    """A process of its own that has begun trial 4, and the store it has begun it in."""
    folder, base = tmp_path / "shared", tmp_path_factory.getbasetemp()
    process = subprocess.Popen(
        [sys.executable, "-c", _COORDINATOR, str(folder), str(base)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "started\n"
    yield process, folder
    process.kill()
    process.communicate()


def test_what_a_killed_coordinator_left_is_reaped_and_a_living_one_is_not(coordinator):
    process, folder = coordinator
    # Opened as it lies: a copy of the template would lose what the process wrote.
    ledger = _ledger_of(folder)
    opened = ledger.latest("support-search")
    with pytest.raises(Refusal, match=f"process {process.pid}"):
        ledger.resume(opened)
    assert _running(ledger, opened) == 1

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert _running(ledger, opened) == 1
    assert ledger.resume(opened) == [4]
    assert _running(ledger, opened) == 0
    assert ledger.trials(opened) == []


def _ledger_of(folder):
    from embedsweep.stores.mlflow_ledger import MlflowLedger

    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return MlflowLedger(client, str(folder / "artifacts"))


def _running(ledger, opened):
    parent = ledger.client.get_run(opened.run_id)
    mine = f"tags.`mlflow.parentRunId` = '{opened.run_id}' and attributes.status = 'RUNNING'"
    return len(ledger.client.search_runs([parent.info.experiment_id], mine))


@pytest.fixture
def small_files():
    """No file of this process may grow beyond 4 MB: what a full disk does, without one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_model_that_finds_no_room_fails_its_trial_and_leaves_nothing(
    client, stores, opened, tmp_path, request
):
    model = write_model(tmp_path / "trained", kilobytes=8_000)
    run_id = stores.ledger.start(opened, dataset(), start())
    request.getfixturevalue("small_files")
    trial = stores.ledger.finish(
        run_id, start(), TrialEnd(Completed(), 1.0, report=report(), model=model)
    )
    assert isinstance(trial.outcome, Failed)
    assert trial.outcome.kind == "store"
    assert "File too large" in trial.outcome.message
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert "valid/ndcg_at_10" not in run.data.metrics
    models = client.search_logged_models([run.info.experiment_id])
    assert [str(kept.status) for kept in models] == ["FAILED"]
    assert not list(stores.folder.rglob("model.safetensors"))
    assert run_trial(stores, opened, start(1)).outcome == Completed()


@pytest.fixture
def ambient(tmp_path, tmp_path_factory, monkeypatch):
    """Another store, which MLflow takes for its own where nobody names one."""
    settings = sqlite_settings(tmp_path / "ambient", tmp_path_factory.getbasetemp())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient(settings.tracking_uri)


def test_no_ambient_state_is_read_or_written(ambient, stores, opened, tmp_path):
    stores.registry.publish("support", trial := run_trial(stores, opened, start()))
    stores.registry.fetch("models:/support/1", tmp_path / "fetched")
    stores.ledger.report(trial.run_id)
    assert mlflow.active_run() is None  # noqa: TID251 - the ban is what this test holds us to
    assert mlflow.get_tracking_uri() == ambient.tracking_uri
    assert len(ambient.search_experiments()) == 1
    assert ambient.search_registered_models() == []
    assert not (tmp_path / "mlruns").exists()


def test_the_plain_way_to_register_a_model_would_ask_the_ambient_store(ambient, stores, opened):
    """The control: why the registry names the model's own folder to a database."""
    trial = run_trial(stores, opened, start())
    client = stores.ledger.client
    client.create_registered_model("support")
    with pytest.raises(mlflow.MlflowException, match="Unable to fetch model"):
        client.create_model_version("support", trial.model_reference, trial.run_id)


def test_a_deleted_experiment_is_told_with_the_way_back(client, ledger, opened):
    experiment = client.get_experiment_by_name("support-search")
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(UsageError, match=f"restore -x {experiment.experiment_id}"):
        ledger.begin(sweep())


def test_a_run_that_is_not_there_is_a_store_error(ledger):
    with pytest.raises(StoreError, match="Run with id=0000"):
        ledger.report("0" * 32)
