"""Embed lines of text from standard input; one JSON array per line on standard output."""

from __future__ import annotations

import argparse
import json
import sys

from embedsweep.core.errors import DataError

LINES_AT_A_TIME = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a base model, a folder, or models:/…")
    parser.add_argument(
        "--role", choices=("query", "document", "plain"), default="plain", help="what the texts are"
    )


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json
    from embedsweep.core.roles import TextRole

    lines = [line.rstrip("\n") for line in sys.stdin]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(
                "empty text", "standard input", "expected a text per line", "remove it", number
            )
    vectors: list[list[float]] = []
    with wiring.opened_model(options.stores, options.model) as embedder:
        for start in range(0, len(lines), LINES_AT_A_TIME):
            part = embedder.embed(lines[start : start + LINES_AT_A_TIME], TextRole(options.role))
            if options.json:
                vectors += part.tolist()
                continue
            for vector in part.tolist():
                print(json.dumps(vector))
    if options.json:
        print_json({"model_reference": options.model, "embeddings": vectors})
    return 0
