"""A signal while a store is written to: what was begun there is ended there."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedsweep.core.interrupts import Terminated, terminable
from embedsweep.stores.store_errors import tells_store_errors
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import run_sweep, run_trial, story
from tests.contract.store_cases import Stores, open_stores
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import DATASET, experiment, services_of

CALLS = [("begin", 1), ("attach", 1), ("start", 1), ("start", 4), ("finish", 1), ("finish", 4)]
"""A call of the ledger, and which time it is made."""


class Signalled:
    """The ledger in MLflow; the call of that name gets SIGTERM before it returns."""

    def __init__(self, ledger: Any, name: str, turn: int) -> None:
        self.address = ledger.address
        self._ledger = ledger
        self._name = name
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._ledger, name)
        if name != self._name:
            return call

        @tells_store_errors(f"{name} with a signal")
        def signalled(_: Signalled, *arguments: Any) -> Any:
            result = call(*arguments)
            self._turn -= 1
            if self._turn == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        return lambda *arguments: signalled(self, *arguments)


@pytest.fixture
def stores(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    return open_stores("mlflow", tmp_path / "mlruns", tmp_path_factory.getbasetemp())


def services(stores: Stores, folder: Path) -> Services:
    plain = services_of(folder, TableBackend())
    return replace(plain, ledger=stores.ledger, registry=stores.registry)


def statuses(stores: Stores) -> list[str]:
    client = stores.ledger.client  # type: ignore[attr-defined]
    found = client.get_experiment_by_name("topics")
    return [run.info.status for run in client.search_runs([found.experiment_id])]


@pytest.mark.parametrize(("call", "turn"), CALLS)
def test_nothing_stays_as_running(tmp_path: Path, stores: Stores, call: str, turn: int) -> None:
    plain = services(stores, tmp_path)
    signalled = replace(plain, ledger=Signalled(stores.ledger, call, turn))
    with pytest.raises(Terminated), terminable():
        run_sweep(experiment(), DATASET, signalled)
    found = statuses(stores)
    assert "RUNNING" not in found
    assert "KILLED" in found
    # What was recorded whole stays whole: the trial is not run again.
    if call == "finish":
        assert found.count("FINISHED") == turn
    sweep = run_sweep(experiment(), DATASET, plain)
    assert len(stores.ledger.trials(sweep)) == 6 + 2


def test_control_without_the_guard_a_begun_trial_stays_as_running(
    tmp_path: Path, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (story, run_trial):
        monkeypatch.setattr(module, "uninterrupted", nullcontext)
    signalled = replace(services(stores, tmp_path), ledger=Signalled(stores.ledger, "start", 1))
    with pytest.raises(Terminated), terminable():
        run_sweep(experiment(), DATASET, signalled)
    assert "RUNNING" in statuses(stores)
