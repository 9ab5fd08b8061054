"""Copy a model out of the registry into a folder that sentence-transformers opens."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a registered name, or models:/…")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder")


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json

    wiring.export(options.stores, options.model, options.folder)
    if options.json:
        print_json({"model_reference": options.model, "folder": str(options.folder)})
    else:
        print(f"{options.model} is in {options.folder}")
    return 0
