"""Serve a registered model's champion over the OpenAI-compatible API, fine-tuning, or both.

Keys come from EMBEDSWEEP_API_KEYS (separated by commas) and never from the command line.
"""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.core.errors import UsageError
from embedsweep.core.roles import TextRole

DEFAULT_BASE_MODEL = "all-MiniLM-L6-v2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="NAME", nargs="?", help="a model's name, or models:/NAME@champion"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default="8000", help="port to listen on; 0 takes a free one")
    parser.add_argument(
        "--name",
        metavar="HOST",
        action="append",
        default=[],
        help="a name that clients reach this machine by, such as gpu-machine; may be given again",
    )
    parser.add_argument(
        "--default-role",
        choices=tuple(TextRole),
        help="what the texts of requests that name no input_type are; without it, a model that "
        "embeds queries and documents differently rejects such requests",
    )
    parser.add_argument(
        "--fine-tuning", action="store_true", help="take files and fine-tuning jobs too, and train"
    )
    parser.add_argument(
        "--base-model",
        metavar="MODEL",
        action="append",
        help=f"a model that jobs may tune; may be given again (default: {DEFAULT_BASE_MODEL})",
    )


def run(options: argparse.Namespace) -> int:
    port = arguments.whole_number("--port", options.port, least=0, example=8000)
    if options.model is None and not options.fine_tuning:
        raise UsageError(
            "nothing to serve",
            "the command line",
            "it names no model and asks for no fine-tuning",
            "write `embedsweep serve NAME`, `embedsweep serve --fine-tuning`, or both",
        )
    if options.base_model and not options.fine_tuning:
        raise UsageError(
            "--base-model",
            "the command line",
            "it names what jobs may tune, and no jobs are taken",
            "add --fine-tuning or remove --base-model",
        )
    from embedsweep import wiring
    from embedsweep.serving.address import Address

    bases = options.base_model or [DEFAULT_BASE_MODEL]
    return wiring.serve(
        options.stores,
        options.model,
        Address(options.host, port, frozenset(options.name)),
        bases if options.fine_tuning else None,
        TextRole(options.default_role) if options.default_role else None,
    )
