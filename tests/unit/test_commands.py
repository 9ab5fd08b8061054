"""Commands in messages are completed, so that they run as they are written."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import pytest

from embedsweep.cli.commands import advised, runnable
from embedsweep.core.errors import Fault

TEXT = "run `embedsweep sweep EXPERIMENT.yaml` first"


def options(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{"stores": None, **given})


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_experiment_file_stands_in_for_its_placeholder() -> None:
    told = runnable(TEXT, options(experiment=Path("a folder/mine.yaml")))
    assert told == "run `embedsweep sweep 'a folder/mine.yaml'` first"
    assert runnable(TEXT, options()) == TEXT


def test_the_stores_that_a_command_was_given_are_repeated() -> None:
    told = runnable(TEXT, options(experiment="mine.yaml", stores="my team.env"))
    assert told == "run `embedsweep sweep mine.yaml --stores 'my team.env'` first"


@pytest.mark.parametrize("stores", ["mlruns-config/local.env", "./mlruns-config/local.env"])
def test_stores_that_a_command_finds_by_itself_are_not(stores: str) -> None:
    assert runnable(TEXT, options(stores=stores)) == TEXT


def test_only_commands_in_backquotes_are_completed() -> None:
    text = "give `embedsweep` its key, or run mlflow gc and `t0 b0`"
    assert runnable(text, options(stores="team.env")) == text


def test_a_command_of_another_program_gets_no_stores() -> None:
    text = "run `MLFLOW_TRACKING_URI='sqlite:////a b/m.db' mlflow experiments restore -x 3`"
    assert runnable(text, options(stores="team.env")) == text


@pytest.mark.parametrize("program", ["embedsweep jobs", "pip install 'x>=1'"])
def test_a_program_that_the_shell_does_not_find_is_named_by_its_path(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    name = program.split()[0]
    own = Path(sys.executable).with_name(name)
    expected = shlex.quote(str(own)) if own.exists() else name
    assert runnable(f"`{program}`", options()) == f"`{program.replace(name, expected, 1)}`"
    # From the folder above it, as in a checkout, the path is short.
    monkeypatch.chdir(own.parent.parent)
    if own.exists():
        assert runnable(f"`{program}`", options()).startswith(f"`bin/{name} ")


def test_a_fault_keeps_all_but_its_commands() -> None:
    fault = Fault("model 'x'", "the registry", "it has none", TEXT, 3)
    told = advised(fault, options(stores="team.env"))
    assert told.fix == "run `embedsweep sweep EXPERIMENT.yaml --stores team.env` first"
    assert (told.what, told.where, told.why, told.line) == (
        "model 'x'",
        "the registry",
        fault.why,
        3,
    )
