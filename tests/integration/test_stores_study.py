"""The study database and the lock of a sweep."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from sqlalchemy.engine import make_url

from embedsweep.core.errors import Refusal, StoreError, UsageError
from embedsweep.stores.locks import lock_sweep
from embedsweep.stores.study import open_study

ROOT = Path(__file__).parents[2]


def _open(url, name="support-search"):
    return open_study(url, name, RandomSampler(seed=7), NopPruner())


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'new' / 'study.db'}"


def test_a_study_is_begun_once_and_found_again(url):
    study = _open(url)
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
    trial = study.ask()
    trial.suggest_float("local.learning_rate", 1e-5, 1e-3, log=True)
    study.tell(trial, 0.5)
    again = _open(url)
    assert [kept.value for kept in again.trials] == [0.5]
    assert isinstance(again.sampler, RandomSampler)
    assert _open(url, "another").trials == []


def test_optuna_is_quiet(url, capfd):
    study = _open(url)
    study.tell(study.ask(), 0.5)
    assert capfd.readouterr() == ("", "")


def test_a_study_that_minimises_is_refused(url):
    _open(url, "another")
    optuna.create_study(storage=url, study_name="support-search", direction="minimize")
    with pytest.raises(UsageError, match="it minimises"):
        _open(url)


def test_a_database_of_another_kind_is_refused():
    with pytest.raises(UsageError, match="SQLite or PostgreSQL") as caught:
        _open("mysql://anna:hunter2@host/study")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "study.db").write_text("this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        _open(f"sqlite:///{tmp_path / 'study.db'}")


def test_a_missing_driver_is_told_with_the_way_to_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(UsageError, match=r"pip install 'psycopg\[binary\]'") as caught:
        _open("postgresql://anna:hunter2@127.0.0.1/study")
    assert "hunter2" not in str(caught.value)


def test_a_dead_database_server_is_told_within_seconds():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    before = time.monotonic()
    with pytest.raises(StoreError, match=f"127.0.0.1:{port}") as caught:
        _open(f"postgresql://anna:hunter2@127.0.0.1:{port}/study")
    assert time.monotonic() - before < 10
    assert "hunter2" not in str(caught.value)


def test_a_study_lives_in_postgresql_in_utc(postgresql):
    name = f"study-{uuid4()}"
    study = _open(postgresql, name)
    study.tell(study.ask(), 0.5)
    assert [trial.value for trial in _open(postgresql, name).trials] == [0.5]
    with study._storage._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("show timezone").scalar() == "UTC"
        assert connection.exec_driver_sql("show application_name").scalar() == "embedsweep"


def test_a_session_that_the_server_closed_is_opened_again(postgresql):
    study = _open(postgresql, f"study-{uuid4()}")
    trial = study.ask()
    with study._storage._backend.engine.connect() as connection:
        connection.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'embedsweep' and pid <> pg_backend_pid()"
        )
    study.tell(trial, 0.5)
    assert [kept.value for kept in study.trials] == [0.5]


def test_a_wrong_password_is_told_and_not_shown(postgresql):
    right = make_url(postgresql)
    wrong = f"postgresql://{right.username}:hun/ter2@{right.host}:{right.port}/{right.database}"
    before = time.monotonic()
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        _open(wrong)
    assert time.monotonic() - before < 10
    assert "ter2" not in str(caught.value)
    assert f"{right.username}:***@{right.host}" in str(caught.value)


_HOLDER = """
import sys
from pathlib import Path
from uuid import uuid4
from embedsweep.stores.locks import lock_sweep
with lock_sweep(Path(sys.argv[1]), "support-search"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_sweep_is_run_by_one_process_at_a_time(holder, tmp_path):
    refused = pytest.raises(Refusal, match=f"process {holder.pid} is running it")
    with refused as caught, lock_sweep(tmp_path, "support-search"):
        pytest.fail("the lock was given twice")
    assert caught.value.exit_code == 5
    with lock_sweep(tmp_path, "another"):
        pass


def test_the_lock_ends_with_the_process_that_held_it(holder, tmp_path):
    holder.kill()
    holder.wait()
    mine, again = (lock_sweep(tmp_path, "support-search") for _ in range(2))
    with mine, pytest.raises(Refusal), again:
        pytest.fail("the lock was given twice")
    with lock_sweep(tmp_path, "support-search"):
        pass
