"""Show the leaderboard of an experiment's newest sweep."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments

add_arguments = arguments.add_experiment


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_leaderboard
    from embedsweep.workflows.compare import leaderboard

    experiment = wiring.load_experiment(options.experiment)
    board = leaderboard(wiring.open_ledger(options.stores), experiment.name)
    if options.json:
        print_json(board.as_dict())
    else:
        print_leaderboard(board)
    return 0
