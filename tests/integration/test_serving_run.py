"""The service as a process: how it starts, follows its champion, and ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.serving.address import Address, listener_at
from embedsweep.serving.run import serve
from tests.integration.serving_twins import NAME, MemoryRegistry, Told, call, embed, shelf_of

ROOT = Path(__file__).resolve().parents[2]
READY = rf"serving {NAME} version 1 \(dimension 4\) on http://127\.0\.0\.1:(\d+)/v1\n"


@contextmanager
def process(drain_seconds: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server process that is ready, and its port; killed at the end if it still runs."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.integration.serving_process", str(drain_seconds)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as server:
        try:
            line = server.stderr.readline()
            ready = re.fullmatch(READY, line)
            assert ready, line
            yield server, int(ready[1])
        finally:
            server.kill()


def hold(server: subprocess.Popen[str], clients: ThreadPoolExecutor, port: int, count: int) -> list:
    """So many requests that are being embedded when this returns."""
    answers = [
        clients.submit(embed, port, ["held", "x" * length]) for length in range(1, count + 1)
    ]
    assert [server.stdout.readline() for _ in answers] == ["embedding\n"] * count
    return answers


def say(server: subprocess.Popen[str], word: str) -> None:
    server.stdin.write(f"{word}\n")
    server.stdin.flush()


def wait_for_drain(port: int) -> None:
    """Until readiness goes, for a signal takes a moment to arrive."""
    for _ in range(1000):
        if call(port, "GET", "/readyz").status == 503:
            return
    pytest.fail("the server stayed ready")


def test_it_follows_its_champion_by_itself():
    with process(drain_seconds=30) as (server, port):
        assert embed(port, "x").headers["x-model-version"] == "1"
        say(server, "swap")
        for _ in range(5000):
            answer = embed(port, "x")
            if answer.headers["x-model-version"] == "2":
                break
        assert Told.by(answer.body["data"][0]["embedding"]) == Told.of("x", 2)


def test_it_does_not_start_where_it_must_not(tmp_path):
    registry = MemoryRegistry()
    registry.crown_new()
    shelf = shelf_of(registry, tmp_path)
    with pytest.raises(UsageError, match="no API key"):
        serve(shelf, Address("0.0.0.0", 0))
    with listener_at(Address(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=f"port {port} is in use"):
            serve(shelf, Address(port=port))


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_requests_in_flight_finish_and_new_ones_are_turned_away(sig):
    with process(drain_seconds=30) as (server, port), ThreadPoolExecutor(6) as clients:
        answers = hold(server, clients, port, 6)
        assert call(port, "GET", "/readyz").status == 200
        server.send_signal(sig)
        wait_for_drain(port)
        assert call(port, "GET", "/healthz").status == 200
        seventh = embed(port, "late")
        assert seventh.error == (503, "shutting_down", None)
        assert int(seventh.headers["retry-after"]) >= 1
        assert not any(answer.done() for answer in answers)
        say(server, "go")
        assert [answer.result().status for answer in answers] == [200] * 6
        assert server.wait(10) == 0
        assert server.stdout.read() == "ended\n"
        assert server.stderr.read() == ""


def test_an_idle_server_ends_at_once():
    with process(drain_seconds=30) as (server, port):
        assert embed(port, "x").status == 200
        server.terminate()
        assert server.wait(5) == 0
        assert server.stderr.read() == ""


def test_requests_that_do_not_finish_are_cut_off_and_the_exit_code_says_so():
    with process(drain_seconds=0.3) as (server, port), ThreadPoolExecutor(1) as clients:
        [answer] = hold(server, clients, port, 1)
        server.terminate()
        assert server.wait(10) == 4
        assert server.stderr.read() == "error: the server ended with requests unfinished\n"
        assert answer.result().error == (503, "shutting_down", None)


def test_a_second_signal_does_not_wait():
    with process(drain_seconds=30) as (server, port), ThreadPoolExecutor(1) as clients:
        [answer] = hold(server, clients, port, 1)
        server.terminate()
        wait_for_drain(port)
        server.terminate()
        assert server.wait(10) == 4
        assert answer.result().status == 503
