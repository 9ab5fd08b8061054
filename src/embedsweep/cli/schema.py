"""Print the JSON Schema of the experiment file, for editors."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(options: argparse.Namespace) -> int:
    del options
    from embedsweep.cli.output import print_json
    from embedsweep.config import experiment_schema

    print_json(experiment_schema())
    return 0
