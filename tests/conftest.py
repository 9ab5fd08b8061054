"""What all tests share: quiet libraries, and where the public data sets lie."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

# The processes that run tests side by side are given a width; without one, tables are not narrowed.
os.environ.pop("COLUMNS", None)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# As in an activated environment: commands that messages advise are found by their names.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("EMBEDSWEEP_DATA", ROOT.parent / "shared" / "data"))


def public_data(name: str) -> Path:
    """The folder of a public data set; skips the test where it is not at hand."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"the public data set {name} is not at {folder}; set EMBEDSWEEP_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def commands_hear_ctrl_c() -> None:
    """Whoever runs the tests in the background ignores Ctrl-C, and programs inherit just that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
