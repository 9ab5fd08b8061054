"""Commands that messages advise, completed so that they run as they are written."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from embedsweep.core.errors import Fault

PLACEHOLDER = "EXPERIMENT.yaml"
_COMMAND = re.compile(r"`((?:\w+=(?:'[^']*'|\S+) )*)(embedsweep|mlflow|pip)( [^`]+)`")


def runnable(text: str, options: argparse.Namespace) -> str:
    """Complete each command in backquotes, such as ``embedsweep compare EXPERIMENT.yaml``.

    It gets the experiment file and the stores of the command that ``options`` belong to, and the
    path of its program if the shell would find no program or another one under that name.
    """
    from embedsweep.wiring.evidence import DEFAULT_STORES

    stores = options.stores
    if stores and Path(stores).absolute() == DEFAULT_STORES.absolute():
        stores = None

    def completed(found: re.Match[str]) -> str:
        variables, program, words = found.groups()
        experiment = getattr(options, "experiment", None)
        if experiment is not None:
            words = words.replace(PLACEHOLDER, shlex.quote(str(experiment)))
        if program == "embedsweep" and stores:
            words += f" --stores {shlex.quote(stores)}"
        return f"`{variables}{_path_of(program)}{words}`"

    return _COMMAND.sub(completed, text)


def advised(fault: Fault, options: argparse.Namespace) -> Fault:
    """Return the fault with the commands of its fix `runnable`."""
    return replace(fault, fix=runnable(fault.fix, options))


def _path_of(program: str) -> str:
    """The program of this Python's environment, as a shell in the current folder finds it."""
    own = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if not own.exists() or (found and Path(found).absolute() == own):
        return program
    here = Path.cwd()
    return shlex.quote(str(own.relative_to(here) if own.is_relative_to(here) else own))
