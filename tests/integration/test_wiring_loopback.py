"""The service that is started where it is needed: one process runs it, others are its clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
import pytest
import torch

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.local.devices import best_device, fast_precision
from embedsweep.core.errors import StoreError
from embedsweep.wiring import loopback as loopback_module
from embedsweep.wiring.loopback import Loopback, fine_tuning
from embedsweep.wiring.models import providers
from tests.integration import loopback_process


class Clerk:
    """A process that asks the service, as the test sees it."""

    def __init__(self, log):
        self._log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", loopback_process.__name__],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def order(self, *order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def ask(self, *order):
        self.order(*order)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL


@contextmanager
def employed(folder):
    clerk = Clerk(folder / "stderr")
    try:
        assert clerk.answer() == "ready"
        yield clerk
    finally:
        clerk.process.kill()
        clerk.process.communicate()


@pytest.fixture(scope="module")
def clerk(tmp_path_factory):
    with employed(tmp_path_factory.mktemp("clerk")) as clerk:
        yield clerk


@dataclass
class Race:
    """What two processes got that asked at once, this one and the clerk."""

    ours: list
    theirs: list
    we_serve: bool
    they_serve: bool


@pytest.fixture(scope="module")
def race(clerk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("race") / "loopback"
    clerk.ask("open", str(folder))
    with closing(Loopback(folder)) as loopback, loopback.client() as client:
        clerk.order("embed", EMBEDDED)
        ours = loopback_process.embed(client, EMBEDDED)
        race = Race(ours, clerk.answer(), loopback_process.serves(), clerk.ask("serves"))
        clerk.ask("close")
        return race


@dataclass
class Look:
    """What this process, a client or the heir, sees of the service."""

    files: list
    jobs: list
    models: list
    vectors: dict
    we_serve: bool


def looks_before_and_after_a_kill(clerk, folder, order):
    """The clerk serves, carries the order out and is killed."""
    clerk.ask("open", str(folder))
    clerk.ask(order)
    with closing(Loopback(folder)) as loopback, loopback.client() as client:

        def look():
            files, jobs, models = loopback_process.holdings(client)
            vectors = {model: loopback_process.embed(client, model) for model in models}
            return Look(files, jobs, models, vectors, loopback_process.serves())

        before = look()
        clerk.kill()
        return before, look()


def test_of_two_that_ask_at_once_one_serves_and_both_get_the_same_vectors(race):
    assert race.we_serve != race.they_serve
    assert race.ours == race.theirs
    assert np.shape(race.ours) == (2, 384)


def test_when_the_one_that_serves_is_killed_the_other_takes_over(race, clerk, tmp_path):
    before, after = looks_before_and_after_a_kill(clerk, tmp_path / "loopback", "begin")
    assert (before.we_serve, after.we_serve) == (False, True)
    assert (len(after.files), len(after.jobs), after.models) == (1, 1, [EMBEDDED])
    assert (after.files, after.jobs) == (before.files, before.jobs)
    np.testing.assert_allclose(after.vectors[EMBEDDED], race.ours, atol=1e-6)


@pytest.mark.slow
def test_and_has_the_models_that_were_tuned_before(tmp_path):
    with employed(tmp_path) as clerk:
        before, after = looks_before_and_after_a_kill(clerk, tmp_path / "loopback", "tune")
    assert (before.we_serve, after.we_serve) == (False, True)
    assert after.models == before.models
    untuned, tuned = (after.vectors[name] for name in after.models)
    assert np.abs(np.subtract(tuned, untuned)).max() > 1e-4
    for name, vectors in before.vectors.items():
        np.testing.assert_allclose(after.vectors[name], vectors, atol=1e-6)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "home" / "loopback"


@pytest.fixture
def loopback(folder):
    with closing(Loopback(folder)) as loopback:
        yield loopback


def listed(loopback):
    with loopback.client() as client:
        return [model.id for model in client.models.list()]


def test_nothing_is_started_before_the_first_request(folder, tmp_path):
    with providers(tmp_path / "home", {}) as known:
        assert not folder.exists()
        with known.connect("loopback") as client:
            assert [path.name for path in folder.iterdir()] == ["key"]
            assert not loopback_process.serves()
            assert [model.id for model in client.models.list()] == [EMBEDDED]
        assert loopback_process.serves()
        assert (folder / "port.json").exists()


@pytest.mark.parametrize("measuring", [True, False])
def test_it_embeds_in_the_precision_it_is_asked_to(measuring, folder):
    text = "Return the smallest number that is not less than this one."
    with closing(Loopback(folder, measuring=measuring)) as loopback, loopback.client() as client:
        [answer] = client.embeddings.create(model=EMBEDDED, input=text).data
    like, other = (
        LocalBackend(measuring=each).open(base_folder(EMBEDDED)).embed([text])[0]
        for each in (measuring, not measuring)
    )
    assert np.abs(np.array(answer.embedding) - like).max() < 1e-6
    if fast_precision(best_device()) is not torch.float32:
        assert np.abs(np.array(answer.embedding) - other).max() > 1e-5


def test_it_is_shut_to_whoever_lacks_the_key(loopback, folder):
    url = f"http://127.0.0.1:{loopback.port()}/v1"
    with openai.OpenAI(base_url=url, api_key=(folder / "key").read_text()) as stock:
        assert [model.id for model in stock.models.list()] == [EMBEDDED]
        with pytest.raises(openai.AuthenticationError):
            stock.with_options(api_key="another").models.list()


def test_what_listens_on_a_dead_one_s_port_is_not_trusted(loopback, folder):
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (folder / "port.json").write_text(json.dumps(port))
        assert loopback.port() != port
        assert listed(loopback) == [EMBEDDED]
        assert loopback.port() == json.loads((folder / "port.json").read_text())
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_nor_while_another_process_begins_to_serve(folder, monkeypatch):
    monkeypatch.setattr(loopback_module, "PATIENCE", 0.0)
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (folder / "port.json").write_text(json.dumps(port))
        with closing(fine_tuning(folder, [EMBEDDED])), closing(Loopback(folder)) as other:
            with pytest.raises(StoreError, match="another server has it open"):
                other.port()
            # The control: what stands in the file is where a process that waits would go.
            (folder / "port.json").write_text(json.dumps(port))
            assert other.port() == port


@pytest.fixture
def lax_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax_umask")
def test_only_the_user_reads_what_lies_in_the_folder(loopback, folder, tmp_path):
    listed(loopback)
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("key", "port.json")}
    assert modes == {"key": 0o600, "port.json": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir() if path.name.startswith(("key-", "port"))] == [
        "port.json"
    ]
    (tmp_path / "control").write_text("")
    assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o666


def test_close_ends_it_and_the_next_one_begins_anew_with_the_same_key(loopback, folder):
    assert listed(loopback) == [EMBEDDED]
    port, key = loopback.port(), (folder / "key").read_text()
    loopback.close()
    assert not (folder / "port.json").exists()
    assert not loopback_process.serves()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    loopback.close()
    with closing(Loopback(folder)) as other:
        assert listed(other) == [EMBEDDED]
    assert (folder / "key").read_text() == key


def a_file_in_its_place(folder):
    folder.parent.mkdir()
    folder.write_text("")


def a_file_for_a_parent(folder):
    folder.parent.write_text("")


def a_folder_for_a_lock(folder):
    (folder / "lock").mkdir(parents=True)


def a_folder_for_a_key(folder):
    (folder / "key").mkdir(parents=True)


def a_folder_for_the_port(folder):
    (folder / "port.json" / "full").mkdir(parents=True)


def a_database_that_is_none(folder):
    folder.mkdir(parents=True)
    (folder / "fine-tuning.db").write_text("no database" * 1000)


@pytest.mark.parametrize(
    "spoil",
    [
        a_file_in_its_place,
        a_file_for_a_parent,
        a_folder_for_a_lock,
        a_folder_for_a_key,
        a_folder_for_the_port,
        a_database_that_is_none,
    ],
)
def test_a_folder_that_cannot_be_used_is_told_at_once(spoil, loopback, folder, tmp_path):
    spoil(folder)
    began = time.monotonic()
    with pytest.raises(StoreError, match=str(tmp_path)) as caught:
        listed(loopback)
    assert time.monotonic() - began < loopback_module.PATIENCE / 2
    assert caught.value.exit_code == 4


def test_one_that_another_process_has_is_waited_for(folder, monkeypatch):
    """The control: there is a wait."""
    monkeypatch.setattr(loopback_module, "PATIENCE", 0.3)
    began = time.monotonic()
    with (
        closing(fine_tuning(folder, [EMBEDDED])),
        closing(Loopback(folder)) as other,
        pytest.raises(StoreError, match="one at a time may"),
    ):
        other.port()
    assert time.monotonic() - began >= 0.3
