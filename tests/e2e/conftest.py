"""The small project in a folder of its own, whose stores are made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedsweep.cli import main
from tests.e2e.small_project import GOOD, LABELLED, rows, write

NOT_INHERITED = ("EMBEDSWEEP_", "MLFLOW_TRACKING_", "OPENAI_")


def alone(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """In the folder, and without the settings of whoever runs the tests."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(NOT_INHERITED)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose stores are made once for all cases."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as monkeypatch:
        alone(monkeypatch, folder)
        assert main(["doctor", "--json"]) == 0
    return folder


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    alone(monkeypatch, home)
    write(home / "mine.yaml", GOOD)
    write(home / "train.jsonl", rows(LABELLED))
    yield home
    for path in (*home.glob("*.yaml"), *home.glob("*.jsonl")):
        path.unlink()
