"""MLflow's command line, ended with the process that started it: ``python -m`` this module.

Standard input is a pipe that only the starter holds the other end of. The system closes it when
the starter ends, however it ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time

PATIENCE_SECONDS = 3
"""How long the server may take to finish its replies."""


def main() -> None:
    """Run MLflow until it ends or standard input closes; call it in its own process group."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    # Loading MLflow takes seconds, in which the starter may end already.
    runpy.run_module("mlflow", run_name="__main__", alter_sys=True)


def _end_with_starter() -> None:
    while os.read(0, 1):
        pass
    # The server is a process of its own, started by MLflow's: both are in the group.
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
