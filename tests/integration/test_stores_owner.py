"""One coordinator per sweep on machines that share a PostgreSQL, and one maker of the schema."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from sqlalchemy import create_engine, text

from embedsweep.config import load_environment
from embedsweep.core.errors import Refusal, StoreError, Superseded
from embedsweep.core.trial import Trial
from embedsweep.stores.connection import open_client
from embedsweep.stores.database_locks import owned_sweep, schema_lock
from embedsweep.stores.study import open_study
from embedsweep.workflows.services import Services
from embedsweep.workflows.sweep import run_sweep
from tests.conftest import ROOT
from tests.integration.table_backend import TableBackend
from tests.integration.table_story import DATASET, experiment, services_of

_HOLDER = """
import sys
from embedsweep.stores.database_locks import owned_sweep
with owned_sweep(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(url: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """Another coordinator."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url, name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def cut(url: str, pid: int | None = None) -> None:
    """End the connections of a coordinator, as a restart of the server does."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE :name"
            ),
            {"name": f"embedsweep % {pid or os.getpid()}"},
        )
    engine.dispose()


def test_a_second_coordinator_is_rejected_and_told_who_holds_the_sweep(postgresql: str) -> None:
    name = f"sweep-{uuid4()}"
    with holder(postgresql, name) as other:
        with pytest.raises(Refusal) as caught, owned_sweep(postgresql, name):
            pytest.fail("the lock was given twice")
        said = str(caught.value)
        assert caught.value.exit_code == 5
        assert f"process {other.pid} on {socket.gethostname()[:40]} has run it since" in said
        assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", said)
        assert f"wait until process {other.pid}" in said
        assert "s%2Fcret" not in said
        # Other sweeps of the same database are not concerned.
        with owned_sweep(postgresql, f"{name}-2") as check_owner:
            check_owner()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_dies_with_its_holder(postgresql: str, sent: int) -> None:
    name = f"sweep-{uuid4()}"
    with holder(postgresql, name) as other:
        other.send_signal(sent)
        other.wait()
        for _ in range(100):
            try:
                with owned_sweep(postgresql, name) as check_owner:
                    check_owner()
                    return
            except Refusal:  # the server takes a moment to see the closed socket
                continue
    pytest.fail("the lock outlived its holder")


def test_a_lost_connection_is_noticed(postgresql: str) -> None:
    with owned_sweep(postgresql, f"sweep-{uuid4()}") as check_owner:
        check_owner()
        cut(postgresql)
        with pytest.raises(StoreError, match="another coordinator could have run"):
            check_owner()
        # It was taken again, so that the end can be written.
        check_owner()


def test_a_sweep_that_another_has_taken_over_is_left_alone(postgresql: str) -> None:
    name = f"sweep-{uuid4()}"
    with owned_sweep(postgresql, name) as check_owner:
        cut(postgresql)
        with (
            holder(postgresql, name) as other,
            pytest.raises(Superseded, match=f"process {other.pid}"),
        ):
            check_owner()


def test_sqlite_keeps_its_file_lock(tmp_path: Path) -> None:
    with owned_sweep(f"sqlite:///{tmp_path}/study.db", "a") as check_owner:
        check_owner()
    assert list(tmp_path.iterdir()) == []


class _Counted(TableBackend):
    """Counts trainings, and calls something after the second."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.count = 0
        self.then = then

    def train(self, *arguments: object, **named: object) -> None:  # type: ignore[override]
        super().train(*arguments, **named)  # type: ignore[arg-type]
        self.count += 1
        if self.count == 2:
            self.then()


@pytest.mark.parametrize("guarded", [True, False])
def test_no_trial_starts_after_the_lock_is_lost(
    postgresql: str, tmp_path: Path, guarded: bool
) -> None:
    """The control: without the check all six trials run."""
    backend = _Counted(lambda: cut(postgresql))
    services: Services = services_of(tmp_path, backend)
    with owned_sweep(postgresql, f"sweep-{uuid4()}") as check_owner:
        if not guarded:
            run_sweep(experiment(), DATASET, services)
            assert backend.count == 6
            return
        with pytest.raises(StoreError, match="could have run"):
            run_sweep(experiment(), DATASET, replace(services, check_owner=check_owner))
    assert backend.count == 2
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    assert len([each for each in services.ledger.trials(sweep) if _is_drawn(each)]) == 2
    assert services.ledger.status[sweep.run_id] == "FAILED"  # type: ignore[attr-defined]


def _is_drawn(trial: Trial) -> bool:
    return trial.role.value == "trial"


def test_nothing_is_written_to_a_sweep_of_another(tmp_path: Path) -> None:
    services = services_of(tmp_path, TableBackend())

    def superseded() -> None:
        raise Superseded("sweep", "here", "another runs it", "wait")

    with pytest.raises(Superseded):
        run_sweep(experiment(), DATASET, replace(services, check_owner=superseded))
    sweep = services.ledger.latest("topics")
    assert sweep is not None
    assert services.ledger.status[sweep.run_id] == "RUNNING"  # type: ignore[attr-defined]


def test_the_schema_is_made_by_one_at_a_time(postgresql: str) -> None:
    done: list[str] = []

    def start() -> None:
        open_study(postgresql, f"study-{uuid4()}", RandomSampler(), NopPruner())
        done.append("opened")

    thread = threading.Thread(target=start)
    with schema_lock(postgresql):
        thread.start()
        thread.join(2)
        assert done == []
    thread.join(60)
    assert done == ["opened"]


def _first_start(address: str, home: Path, barrier: object, results: object) -> None:
    settings = replace(
        load_environment(None, {"EMBEDSWEEP_HOME": str(home)}), tracking_uri=f"{address}_runs"
    )
    barrier.wait()  # type: ignore[attr-defined]
    try:
        open_study(f"{address}_studies", "first", RandomSampler(), NopPruner())
        open_client(settings)
    except BaseException as error:
        results.put(repr(error))  # type: ignore[attr-defined]
        raise
    results.put("opened")  # type: ignore[attr-defined]


def test_two_first_starts_at_once_on_empty_databases(postgresql: str, tmp_path: Path) -> None:
    """From two homes, as of two machines."""
    stem = f"first_{uuid4().hex[:8]}"
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for kind in ("studies", "runs"):
            connection.execute(text(f"CREATE DATABASE {stem}_{kind}"))
    engine.dispose()
    address = f"{postgresql.rpartition('/')[0]}/{stem}"
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=_first_start, args=(address, tmp_path / name, barrier, results))
        for name in ("one", "two")
    ]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == ["opened", "opened"]
    for process in processes:
        process.join()
