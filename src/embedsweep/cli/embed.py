"""Embed lines of text from standard input; one JSON array per line on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from embedsweep.core.errors import DataError, UsageError
from embedsweep.core.roles import TextRole, distinct_roles

if TYPE_CHECKING:
    from embedsweep.core.ports import Embedder

LINES_AT_A_TIME = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a base model, a folder, or models:/…")
    parser.add_argument(
        "--role",
        choices=tuple(TextRole),
        help="what the texts are; required for a model that embeds queries and documents "
        "differently",
    )


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json

    lines = [line.rstrip("\n") for line in sys.stdin]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(
                "empty text", "standard input", "expected a text per line", "remove it", number
            )
    vectors: list[list[float]] = []
    with wiring.opened_model(options.stores, options.model) as embedder:
        role = _role(options.role, embedder, options.model)
        for start in range(0, len(lines), LINES_AT_A_TIME):
            part = embedder.embed(lines[start : start + LINES_AT_A_TIME], role)
            if options.json:
                vectors += part.tolist()
                continue
            for vector in part.tolist():
                print(json.dumps(vector))
    if options.json:
        print_json({"model_reference": options.model, "embeddings": vectors})
    return 0


def _role(named: str | None, embedder: Embedder, model: str) -> TextRole:
    if named is not None:
        return TextRole(named)
    if distinct_roles(embedder.effective_role):
        raise UsageError(
            f"no role for the texts of {model}",
            "the command line",
            "this model embeds queries and documents differently",
            "add --role query or --role document",
        )
    return TextRole.PLAIN
