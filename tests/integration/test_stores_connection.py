"""Opening stores: dead servers, fresh databases, many processes at once."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from embedsweep.config import StoreLocations
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.connection import PATIENCE, check_version, open_client
from tests.refusals import refusal

ROOT = Path(__file__).parents[2]


def _settings(tracking_uri, study_url="sqlite:///study.db"):
    return StoreLocations(tracking_uri, "artifacts", study_url, Path())


@pytest.fixture
def closed_port():
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def silent_port():
    """A server that takes the connection and never says a word."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_dead_server_is_told_within_seconds_and_its_password_is_not(closed_port, scheme):
    before = time.monotonic()
    with pytest.raises(StoreError) as caught:
        open_client(_settings(f"{scheme}://anna:hunter2@127.0.0.1:{closed_port}"))
    assert time.monotonic() - before < 10
    assert "reach the tracking server" in str(caught.value)
    assert f"127.0.0.1:{closed_port}" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_silent_server_is_told_when_patience_ends(silent_port):
    with pytest.raises(StoreError, match="timeout"):
        open_client(_settings(f"http://127.0.0.1:{silent_port}"), patience=0.2)
    assert PATIENCE < 10


def test_a_broken_server_is_told_by_its_status():
    class Broken(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(502)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(StoreError, match="status 502"):
            open_client(_settings(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()


@pytest.mark.parametrize(
    "address",
    ["./mlruns", "mlruns", "/var/mlruns", "file:///var/mlruns", "", "databricks", "ftp://host/x"],
)
def test_an_address_of_no_use_is_refused_with_one_that_is(address):
    with pytest.raises(UsageError, match="write sqlite:///FILE or http"):
        open_client(_settings(address))


@pytest.mark.parametrize("address", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_database_without_a_file_is_refused(address):
    with pytest.raises(UsageError, match="names no file"):
        open_client(_settings(address))


def test_mlflow_and_the_study_cannot_share_a_database():
    with pytest.raises(UsageError, match="cannot share one database"):
        open_client(_settings("sqlite:///both.db", "sqlite:///both.db"))


@pytest.mark.parametrize("found", ["3.16.9", "2.22.0", "3.9.0"])
def test_an_old_mlflow_is_refused_with_both_versions(found):
    with pytest.raises(UsageError, match=rf"mlflow {found} .* mlflow>=3\.17 is needed"):
        check_version(found)


@pytest.mark.parametrize("found", ["3.17.0", "3.17.2", "3.18.0.dev1", "4.0.0"])
def test_a_new_mlflow_is_not(found):
    assert refusal(check_version, found) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        open_client(_settings(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"))


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "mlflow.db").write_text("this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        open_client(_settings(f"sqlite:///{tmp_path / 'mlflow.db'}"))


_OPENER = """
import sys
from pathlib import Path
from embedsweep.config import StoreLocations
from embedsweep.stores.connection import open_client
folder = Path(sys.argv[1])
settings = StoreLocations(f"sqlite:///{folder / 'mlflow.db'}", "artifacts", "", folder)
sys.stdin.readline()
client = open_client(settings)
client.create_experiment(sys.argv[2])
"""

_UNGUARDED = """
import sys
from mlflow import MlflowClient
sys.stdin.readline()
MlflowClient(f"sqlite:///{sys.argv[1]}/mlflow.db").create_experiment(sys.argv[2])
"""


def _open_at_once(program, folder, processes):
    """Run the program in processes that wait for each other; return their exit codes."""
    folder.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder), f"experiment-{number}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(processes)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
    return [process.returncode for process in started]


def _tables(folder):
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute("select name from sqlite_master where type = 'table'")
        return {name for (name,) in rows}


@pytest.mark.slow
def test_five_processes_may_open_a_fresh_store_at_once(tmp_path):
    folder = tmp_path / "fresh"
    assert _open_at_once(_OPENER, folder, 5) == [0] * 5
    assert not {name for name in _tables(folder) if name.startswith("_alembic_tmp")}
    client = open_client(_settings(f"sqlite:///{folder / 'mlflow.db'}"))
    assert len(client.search_experiments()) == 6


@pytest.mark.slow
def test_without_the_lock_a_fresh_store_breaks(tmp_path):
    """The control: MLflow alone makes the schema as many times as there are processes."""
    assert any(_open_at_once(_UNGUARDED, tmp_path / "fresh", 5))
