"""MLflow's own pages over the stores, on this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.stores.addresses import masked, scheme_of

LOOPBACK = "127.0.0.1"


def show_pages(tracking_uri: str, artifacts: str, port: int) -> int:
    """Run MLflow's server until Ctrl-C stops it; returns the exit code.

    It listens on loopback and answers to exact host names only: its own defaults accept any host
    that begins like a private address. It ends with this process, however this process ends.

    Raises:
        UsageError: The store is a server already, with pages of its own.
        StoreError: The server ended by itself.
    """
    if scheme_of(tracking_uri) in ("http", "https"):
        raise UsageError(
            "ui",
            masked(tracking_uri),
            "the runs are on a server",
            "open that address in a browser",
        )
    hosts = ",".join(f"{name}:{port}" for name in ("localhost", LOOPBACK))
    command = [
        *(sys.executable, "-m", "embedsweep.stores.pages_process", "server", "--workers", "1"),
        *("--backend-store-uri", tracking_uri, "--default-artifact-root", artifacts),
        *("--host", LOOPBACK, "--port", str(port), "--allowed-hosts", hosts),
    ]
    # Its job runner would start a dozen processes that these pages have no use for.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    sys.stderr.write(f"MLflow's pages are on http://localhost:{port}; Ctrl-C ends them\n")
    # In a session of its own, so that a terminal's Ctrl-C reaches this process only.
    process = subprocess.Popen(  # noqa: S603 - our own
        command, env=environment, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.communicate()
        return 0
    finally:
        # What is left of the group if its first process was killed.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if code > 0:
        raise StoreError(
            "MLflow's server",
            f"port {port}",
            f"it ended with exit code {code}",
            "see its message above; if the port is in use, take another with --port",
        )
    return 0
