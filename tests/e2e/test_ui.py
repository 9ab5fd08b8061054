"""MLflow's pages end with the command that opened them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.projects import PATIENCE, Project, ended_of

MODULE = "embedsweep.stores.pages_process"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).with_stores()


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def is_up(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def wait_until_up(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_up(port):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def servers(port: int) -> list[int]:
    """The processes of MLflow that were told the port."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().decode().split("\0")
        except OSError:
            continue
        if str(port) in words and (MODULE in words or "uvicorn" in words):
            found.append(int(line.parent.name))
    return found


def wait_until_gone(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while servers(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with closing(socket.socket()) as listener:
        # As servers do: connections that have ended may rest for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()


def test_ctrl_c_ends_the_pages_cleanly(project: Project) -> None:
    port = free_port()
    process = project.start("ui", "--port", str(port))
    wait_until_up(port)
    assert len(servers(port)) == 2
    os.killpg(process.pid, signal.SIGINT)
    ended = ended_of(process)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert not servers(port)
    wait_until_gone(port)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_the_pages_end_however_the_command_ends(project: Project, signum: int) -> None:
    port = free_port()
    process = project.start("ui", "--port", str(port))
    wait_until_up(port)
    process.send_signal(signum)
    ended_of(process)
    wait_until_gone(port)


def test_pages_whose_first_process_is_killed_leave_none_behind(project: Project) -> None:
    port = free_port()
    process = project.start("ui", "--port", str(port))
    wait_until_up(port)
    (first,) = (pid for pid in servers(port) if _parent(pid) == process.pid)
    os.kill(first, signal.SIGKILL)
    ended_of(process)
    wait_until_gone(port)


def test_control_while_the_pipe_is_held_the_server_outlives_its_starter(project: Project) -> None:
    port = free_port()
    with started(project, port) as starter:
        wait_until_up(port)
        starter.kill()
        starter.wait()
        assert is_up(port)
        assert len(servers(port)) == 2
    wait_until_gone(port)


@contextmanager
def started(project: Project, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A starter of the server; the other end of the server's pipe is held by this process."""
    theirs, ours = os.pipe()
    words = [sys.executable, "-m", MODULE, "server", "--workers", "1", "--port", str(port)]
    words += ["--backend-store-uri", f"sqlite:///{project.home}/mlflow.db"]
    starting = f"import subprocess; subprocess.run({words!r}, start_new_session=True)"
    environment = {**project.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    try:
        yield subprocess.Popen(
            [sys.executable, "-c", starting], cwd=project.folder, env=environment, stdin=theirs
        )
    finally:
        os.close(theirs)
        os.close(ours)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
