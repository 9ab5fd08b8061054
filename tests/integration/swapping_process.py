"""Swaps of a served model: ``python -m tests.integration.swapping_process MODEL HOME [strong]``.

Prints the bytes in memory after 2 swaps and after 20, one JSON document. ``strong`` undoes what
frees a model: weak references to it then keep it alive.
"""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path

from embedsweep.backends.local.backend import LocalBackend
from embedsweep.serving.shelf import ModelShelf
from tests.benchmarks.growth_process import resident
from tests.integration.serving_twins import NAME, MemoryRegistry

TOLD = (2, 20)


@dataclass
class OneFolder(MemoryRegistry):
    """All versions have the files of one folder."""

    source: Path = Path()

    def fetch(self, model_reference: str, folder: Path, manifest_digest: str | None = None) -> Path:
        return Path(shutil.copytree(self.source, folder / "model"))


def main(model: Path, home: Path) -> None:
    registry = OneFolder(source=model)
    registry.crown_new()
    shelf = ModelShelf(registry, LocalBackend("cpu").open, home)
    shelf.load(NAME)
    told = {}
    for swaps in range(1, TOLD[-1] + 1):
        registry.crown_new()
        shelf.refresh()
        assert shelf.champions()[0].version.number == swaps + 1
        if swaps in TOLD:
            told[swaps] = resident()
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    if sys.argv[3:] == ["strong"]:
        weakref.proxy = lambda model: model  # type: ignore[assignment]
    main(Path(sys.argv[1]), Path(sys.argv[2]))
