"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

DEBIAN = Path("/usr/lib/postgresql")
UNPRIVILEGED = ("postgres", "nobody")
"""Whom the server runs as where the tests run as root, which it refuses."""


def missing() -> str | None:
    """What keeps a server from being started here, or None."""
    if _program("initdb") is None or _program("pg_ctl") is None:
        return (
            "there are no initdb and pg_ctl; install PostgreSQL or set EMBEDSWEEP_TEST_POSTGRESQL"
        )
    return None


@contextmanager
def server() -> Iterator[str]:
    """The address of a fresh, empty server with a password; it is gone afterwards."""
    user = _user()
    # Not in a folder of pytest's: those are closed to the user the server runs as.
    with tempfile.TemporaryDirectory(prefix="embedsweep-postgresql-") as name:
        folder = Path(name)
        password, data = folder / "password", folder / "data"
        password.write_text("s/cret")
        if user is not None:
            for path in (folder, password):
                shutil.chown(path, user)
        secured = ["-U", "anna", "-A", "scram-sha-256", f"--pwfile={password}"]
        _run(user, "initdb", "-D", data, *secured)
        with closing(socket.socket()) as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        _run(user, "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", options, "start")
        try:
            yield f"postgresql://anna:s%2Fcret@127.0.0.1:{port}/postgres"
        finally:
            _run(user, "pg_ctl", "-D", data, "-m", "immediate", "stop")


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in UNPRIVILEGED if name in known)


def _program(name: str) -> str | None:
    folders = [str(folder) for folder in sorted(DEBIAN.glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))


def _run(user: str | None, name: str, *options: str | Path) -> None:
    # Output to nowhere: the server would keep a pipe open for as long as it runs.
    subprocess.run(
        [str(_program(name)), *map(str, options)],
        check=True,
        cwd="/",
        user=user,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
