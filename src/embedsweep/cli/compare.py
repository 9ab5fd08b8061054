"""Show the leaderboard of an experiment's newest sweep, or two of its models side by side.

With two models, named as in the leaderboard (t3, b0, f2), `champion`, or by a models:/ or runs:/
reference: how far apart they are, and the examples on which they differ most.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from embedsweep.cli import arguments
from embedsweep.core.errors import UsageError
from embedsweep.core.report import Measure

if TYPE_CHECKING:
    from embedsweep.workflows.compare import Leaderboard

TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_experiment(parser)
    parser.add_argument(
        "models", metavar="A B", nargs="*", help="two models to show side by side; before options"
    )
    parser.add_argument(
        "--top", metavar="N", help=f"of A and B: examples to show each way (default: {TOP})"
    )
    parser.add_argument(
        "--measure", metavar="M", help="of A and B: compare them by this (default: the objective)"
    )
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="write the sweep's page to this HTML file"
    )


def run(options: argparse.Namespace) -> int:
    _check(options)
    if options.models:
        return _side_by_side(options)
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_leaderboard
    from embedsweep.workflows.compare import leaderboard

    experiment = wiring.load_experiment(options.experiment)
    ledger = wiring.open_ledger(options.stores)
    board = leaderboard(ledger, experiment.name, experiment.policy)
    if options.report is not None:
        _write_page(options, board)
    if options.json:
        print_json(board.as_dict())
    else:
        print_leaderboard(board)
    return 0


def _write_page(options: argparse.Namespace, board: Leaderboard) -> None:
    from embedsweep import wiring
    from embedsweep.cli.output import note

    experiment, dataset = wiring.load(options.experiment)
    ledger, registry = wiring.open_ledger(options.stores), wiring.open_registry(options.stores)
    page = wiring.drawn_page(experiment, dataset, ledger, registry, board)
    try:
        options.report.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--report {options.report}",
            "the command line",
            f"the file cannot be written: {error.strerror}",
            "name a file in a folder that is there and writable",
        ) from error
    note(f"report: {options.report}")


def _check(options: argparse.Namespace) -> None:
    where, given = "the command line", len(options.models)
    if given not in (0, 2):
        raise UsageError(
            f"{given} model{'s' * (given > 1)} to compare",
            where,
            "a comparison is of two, and the leaderboard of all",
            "name two models, such as `t0 b0`, or none",
        )
    if given and options.report is not None:
        raise UsageError(
            f"--report {options.report}",
            where,
            "the page is of the whole sweep, and two models are named",
            "leave out the models, or --report",
        )
    for option, value in (("--top", options.top), ("--measure", options.measure)):
        if value is not None and not given:
            raise UsageError(
                f"{option} {value}",
                where,
                "it is for two models side by side, and none are named",
                f"name two models, such as `t0 b0`, or leave {option} out",
            )


def _measure(text: str) -> Measure:
    try:
        return Measure.parse(text)
    except ValueError as error:
        raise UsageError(
            f"--measure {text}", "the command line", str(error), "name one of those"
        ) from error


def _side_by_side(options: argparse.Namespace) -> int:
    first, second = options.models
    top = arguments.whole_number("--top", options.top) if options.top else TOP
    measure = _measure(options.measure) if options.measure else None

    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_side_by_side
    from embedsweep.workflows.side_by_side import Asked, side_by_side

    found = side_by_side(
        wiring.load_experiment(options.experiment),
        lambda: wiring.load(options.experiment)[1],
        wiring.open_ledger(options.stores),
        wiring.open_registry(options.stores),
        Asked(first, second, measure, top),
    )
    if options.json:
        print_json(found.as_dict())
    else:
        print_side_by_side(found)
    return 0
