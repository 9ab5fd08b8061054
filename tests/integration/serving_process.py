"""A server to send signals to: `python -m tests.integration.serving_process DRAIN_SECONDS`.

It prints ``embedding`` for each request it holds. On stdin, ``go`` lets all of them go and
``swap`` crowns a new version.
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from pathlib import Path

from embedsweep.serving.address import Address
from embedsweep.serving.limits import Limits
from embedsweep.serving.run import serve
from embedsweep.serving.shelf import ModelShelf
from tests.integration.serving_twins import NAME, MemoryRegistry, TellingEmbedder


class HeldEmbedder(TellingEmbedder):
    go = threading.Event()

    def embed(self, texts, role=None):
        if "held" in texts:
            sys.stdout.write("embedding\n")
            sys.stdout.flush()
            self.go.wait()
        return super().embed(texts)


def read(folder: Path) -> dict[str, int]:
    settings: dict[str, int] = json.loads((folder / "model.json").read_text())
    return settings


def main(drain_seconds: float) -> None:
    registry = MemoryRegistry()
    registry.crown_new()
    with tempfile.TemporaryDirectory() as home:
        shelf = ModelShelf(registry, lambda folder: HeldEmbedder(**read(folder)), Path(home))
        shelf.load(NAME)

        def obey() -> None:
            for word in sys.stdin:
                if word == "swap\n":
                    registry.crown_new()
                elif word == "go\n":
                    HeldEmbedder.go.set()

        threading.Thread(target=obey, daemon=True).start()
        limits = Limits(concurrent=6, drain_seconds=drain_seconds, poll_seconds=0.01)
        serve(shelf, Address(port=0), limits=limits)
    sys.stdout.write("ended\n")


if __name__ == "__main__":
    main(float(sys.argv[1]))
