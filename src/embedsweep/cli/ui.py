"""Open the runs in MLflow's own pages, on this machine alone."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", default="5000", help="port to listen on")


def run(options: argparse.Namespace) -> int:
    port = arguments.whole_number("--port", options.port, example=5000)
    from embedsweep import wiring

    return wiring.show_pages(options.stores, port)
