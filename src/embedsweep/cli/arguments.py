"""Arguments that several verbs take, read the same way everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedsweep.core.errors import UsageError


def add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", metavar="EXPERIMENT.yaml", type=Path)


def add_model_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME", help="a model's name in the registry")


def whole_number(option: str, text: str, least: int = 1, example: int = 12) -> int:
    """A whole number of at least ``least``; `UsageError` naming the option otherwise."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        name = option.removeprefix("--")
        raise UsageError(
            f"{option} {text}",
            "the command line",
            f"{name} must be a whole number ≥ {least}",
            f"give {option} {example}",
        )
    return number
