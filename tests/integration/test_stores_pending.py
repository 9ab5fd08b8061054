"""Metrics of a running trial: written together, read in time, and lost by no failing store."""

from __future__ import annotations

import threading
import time

import pytest

from embedsweep.core.errors import StoreError
from embedsweep.core.ports import TrialEnd
from embedsweep.core.trial import Completed, Pruned
from embedsweep.stores.mlflow_ledger import MlflowLedger
from embedsweep.stores.mlflow_run import Tag
from tests.contract.store_cases import dataset, open_stores, report, start, sweep

NDCG, LOSS = "valid/ndcg_at_10", "train/loss"
LONG, SOON = 600.0, 0.05
PATIENCE = 30.0


@pytest.fixture
def client(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return open_stores("mlflow", tmp_path / "store", tmp_path_factory.getbasetemp()).ledger.client


def begun(client, delay, number=0):
    ledger = MlflowLedger(client, "artifacts", delay=delay)
    opened = ledger.latest("support-search") or ledger.begin(sweep())
    return ledger, ledger.start(opened, dataset(), start(number))


def stored(client, run_id, name=LOSS):
    return [(each.step, each.value) for each in client.get_metric_history(run_id, name)]


def timers():
    return [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def timers_end():
    for timer in timers():
        timer.join(PATIENCE)
    return not timers()


@pytest.fixture(autouse=True)
def _no_timer_is_left():
    yield
    assert timers_end()


def tell(ledger, run_id, epochs=2):
    for epoch in range(1, epochs + 1):
        ledger.epoch(run_id, epoch, {LOSS: 1 / epoch, NDCG: 0.1 * epoch, "nan": float("nan")})


def test_epochs_of_one_moment_are_written_with_the_end(client):
    ledger, run_id = begun(client, LONG)
    tell(ledger, run_id)
    assert stored(client, run_id) == []
    told = int(time.time() * 1000)
    trial = ledger.finish(run_id, start(), TrialEnd(Completed(), 1.0, report=report(0.6)))
    assert stored(client, run_id) == [(1, 1.0), (2, 0.5)]
    # They keep the time at which they were told.
    assert all(each.timestamp <= told for each in client.get_metric_history(run_id, LOSS))
    assert trial.metrics == {NDCG: 0.6, "valid/accuracy": 0.25}
    assert client.get_run(run_id).data.metrics[NDCG] == 0.6


def test_control_without_a_delay_each_is_there_at_once(client):
    ledger, run_id = begun(client, 0.0)
    for epoch in (1, 2):
        ledger.epoch(run_id, epoch, {LOSS: 1 / epoch})
        assert stored(client, run_id)[-1] == (epoch, 1 / epoch)


@pytest.mark.parametrize("end", [TrialEnd(Pruned(2), 1.0), TrialEnd(Completed(), 1.0)])
def test_what_is_recorded_does_not_hang_on_the_delay(client, end):
    runs, trials = [], []
    for number, delay in enumerate((0.0, LONG)):
        ledger, run_id = begun(client, delay, number)
        tell(ledger, run_id)
        trials.append(ledger.finish(run_id, start(number), end))
        runs.append(client.get_run(run_id))
    at_once, together = runs
    assert trials[0].metrics == trials[1].metrics == {NDCG: 0.2}
    assert at_once.data.metrics == together.data.metrics
    assert at_once.data.tags.keys() == together.data.tags.keys()
    assert together.data.tags[Tag.NON_FINITE] == "nan"
    names = [each.info.run_id for each in runs]
    for name in at_once.data.metrics:
        assert stored(client, names[0], name) == stored(client, names[1], name)


def test_a_reader_sees_a_running_trial_when_the_time_is_up(client):
    ledger, run_id = begun(client, SOON)
    tell(ledger, run_id, 5)
    assert timers_end()
    assert [step for step, _ in stored(client, run_id)] == [1, 2, 3, 4, 5]
    # A run that was not written to for as long is written to at once.
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        pass
    ledger.epoch(run_id, 6, {LOSS: 0.1})
    assert stored(client, run_id)[-1] == (6, 0.1)


def test_control_before_its_time_it_is_not_seen_and_the_end_stops_the_clock(client):
    ledger, run_id = begun(client, LONG)
    tell(ledger, run_id, 5)
    assert len(timers()) == 1
    assert stored(client, run_id) == []
    ledger.finish(run_id, start(), TrialEnd(Pruned(5), 1.0))
    assert timers_end()


def test_an_interrupted_trial_keeps_what_it_told(client):
    ledger, run_id = begun(client, LONG)
    tell(ledger, run_id)
    ledger.abandon(run_id)
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags[Tag.INTERRUPTED] == "true"
    assert [step for step, _ in stored(client, run_id)] == [1, 2]


def test_what_a_store_refuses_in_the_background_waits_for_the_next_call(client):
    ledger, run_id = begun(client, 1.0)
    client.delete_run(run_id)  # MLflow writes to no deleted run
    tell(ledger, run_id, 2)
    assert timers_end()
    assert stored(client, run_id) == []
    with pytest.raises(StoreError, match="record an epoch"):
        ledger.epoch(run_id, 3, {LOSS: 0.25})
    client.restore_run(run_id)
    ledger.finish(run_id, start(), TrialEnd(Pruned(3), 1.0))
    assert stored(client, run_id)[:3] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert timers_end()
