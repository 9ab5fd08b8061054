"""Ledger and registry over a tracking server: one pass of a whole sweep."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress

import mlflow
import pytest

from embedsweep.config import StoreLocations
from embedsweep.core.errors import DataError, Refusal, StoreError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.trial import Completed, Pruned
from embedsweep.stores.connection import open_client
from embedsweep.stores.mlflow_ledger import MlflowLedger
from embedsweep.stores.mlflow_registry import MlflowRegistry
from embedsweep.stores.mlflow_upkeep import MlflowUpkeep
from embedsweep.stores.registry_locks import turns_at
from embedsweep.workflows.collect import collect
from tests.contract.store_cases import (
    Stores,
    dataset,
    decision,
    report,
    run_trial,
    sqlite_settings,
    start,
    sweep,
    write_model,
)

pytestmark = pytest.mark.slow

PATIENCE = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a tracking server, and the folder it keeps everything in."""
    folder = tmp_path_factory.mktemp("server")
    settings = sqlite_settings(folder, tmp_path_factory.getbasetemp())
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--allowed-hosts", f"127.0.0.1:{port}"]
    command += ["--backend-store-uri", settings.tracking_uri]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _await(f"{address}/health", process)
        yield address, folder
    finally:
        # The server's workers are its children: all of its session end with it.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(url, process):
    given_up = time.monotonic() + PATIENCE
    while time.monotonic() < given_up:
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                urllib.request.urlopen(url, timeout=1).close()
                return
        else:
            break
    pytest.fail("the tracking server did not start")


@pytest.fixture
def stores(server, tmp_path):
    address, folder = server
    secret = address.replace("http://", "http://anna:hunter2@")
    unused = str(tmp_path / "unused")
    client = open_client(StoreLocations(secret, unused, "", tmp_path))
    return Stores(
        MlflowLedger(client, unused, 2), MlflowRegistry(client, turns_at("", tmp_path), 2), folder
    )


def test_a_sweep_over_http(stores, server, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    ledger, registry = stores.ledger, stores.registry
    opened = ledger.begin(sweep())
    assert ledger.latest("support-search") == opened
    trials = [run_trial(stores, opened, start(number), 0.5 + number / 10) for number in range(3)]
    pruned = ledger.start(opened, dataset(), start(3))
    ledger.epoch(pruned, 1, {"valid/ndcg_at_10": 0.1, "train/loss": float("inf")})
    trials.append(ledger.finish(pruned, start(3), TrialEnd(Pruned(1), 1.0)))
    ledger.start(opened, dataset(), start(4))
    assert ledger.resume(opened) == [4]
    assert ledger.trials(opened) == trials
    assert ledger.find("support-search", trials[1].fingerprint) == trials[1]
    assert ledger.report(trials[2].run_id) == report(0.7)
    assert ledger.names() == ["support-search"]
    reports = {"candidate": report(0.6, "test"), "rival": report(0.5, "test")}
    assert ledger.record_promotion(opened, decision("support"), reports)

    first, second = (registry.publish("support", trial) for trial in trials[:2])
    assert registry.publish("support", trials[0]) == first
    assert (first.number, second.number) == (1, 2)
    registry.crown(first, None)
    registry.crown(second, 1)
    with pytest.raises(Refusal):
        registry.crown(first, 1)
    assert registry.resolve("support") == second
    assert registry.resolve("support", "previous") == first
    assert registry.resolve("support", "7") is None
    assert registry.resolve("unknown") is None
    for look in (1, 2):
        registry.record(decision("support", look))
    assert [made.look for made in registry.history("support")] == [1, 2]
    assert registry.names() == ["support"]
    ledger.end(opened, "FINISHED", {"trials": 4.0})

    references = (f"runs:/{second.run_id}", "models:/support@champion", second.model_reference)
    for number, reference in enumerate(references):
        assert (registry.fetch(reference, tmp_path / str(number)) / "config.json").is_file()
    weights = next(stores.model_folder(second.model_reference).rglob("model.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        registry.fetch("models:/support/2", tmp_path / "tampered")

    assert mlflow.get_tracking_uri() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "0",
        "1",
        "2",
        "registry-model-support.lock",
    ]
    assert capfd.readouterr() == ("", "")


def test_a_model_the_server_shows_is_the_one_registered(stores, server):
    opened = stores.ledger.begin(sweep("shown"))
    trial = run_trial(stores, opened, start())
    stores.registry.publish("shown", trial)
    client = stores.ledger.client
    model_id = trial.model_reference.removeprefix("models:/")
    assert '"shown"' in client.get_logged_model(model_id).tags["mlflow.modelVersions"]
    assert client.get_model_version("shown", "1").source == trial.model_reference
    experiment = client.get_experiment_by_name("shown")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")


def test_models_on_a_server_are_collected(stores, tmp_path):
    opened = stores.ledger.begin(sweep("collected"))
    trials = [run_trial(stores, opened, start(number), 0.1 + number / 10) for number in range(3)]
    stores.ledger.end(opened, "FINISHED", {})
    upkeep = MlflowUpkeep(stores.ledger.client, tmp_path / "locks", tmp_path / "work", 2)
    found = collect(upkeep, stores.ledger, stores.registry, 0, delete=True)
    mine = [model for model in found.models if model.experiment == "collected"]
    assert [model.label for model in mine] == ["trial-0000", "trial-0001"]
    assert all(model.size > 4000 for model in mine)
    left = [bool(list(stores.model_folder(trial.model_reference).rglob("*"))) for trial in trials]
    assert left == [False, False, True]
    with pytest.raises(DataError, match="collected on"):
        stores.registry.fetch(trials[0].model_reference, tmp_path / "fetched")
    again = collect(upkeep, stores.ledger, stores.registry, 0, delete=True)
    assert [model for model in again.models if model.experiment == "collected"] == []


def test_what_the_server_refuses_is_told_without_the_password(stores, tmp_path):
    opened = stores.ledger.begin(sweep("refused"))
    run_id = stores.ledger.start(opened, dataset(), start())
    model = write_model(tmp_path / "trained")
    stores.ledger.finish(run_id, start(), TrialEnd(Completed(), 1.0, report=report(), model=model))
    with pytest.raises(StoreError) as caught:
        stores.ledger.report("0" * 32)
    assert "Run with id=" in str(caught.value)
    assert "hunter2" not in str(caught.value)
