"""Serve a registered model's champion over the OpenAI-compatible API.

Keys come from EMBEDSWEEP_API_KEYS (separated by commas) and never from the command line.
"""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME", help="a model's name, or models:/NAME@champion")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default="8000", help="port to listen on; 0 takes a free one")


def run(options: argparse.Namespace) -> int:
    port = arguments.whole_number("--port", options.port, least=0)
    from embedsweep import wiring

    return wiring.serve(options.stores, options.model, options.host, port)
