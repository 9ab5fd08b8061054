"""Sweep an experiment: baselines, trials, leaderboard, promotion.

Called again, it goes on where it stopped and repeats nothing that is done.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from embedsweep.cli import arguments
from embedsweep.cli.commands import runnable
from embedsweep.core.collection import uncollected

if TYPE_CHECKING:
    from embedsweep.cli.progress import Lines
    from embedsweep.core.dataset import Dataset
    from embedsweep.core.experiment import Experiment
    from embedsweep.workflows.services import Services


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_experiment(parser)
    parser.add_argument("--trials", metavar="N", help="trials in all (default: the experiment's)")
    parser.add_argument(
        "--new-study", action="store_true", help="begin another sweep, though there is one already"
    )
    parser.add_argument(
        "--no-promote", action="store_true", help="stop at the leaderboard; open no test split"
    )
    parser.add_argument(
        "--cancel-on-interrupt",
        action="store_true",
        help="on Ctrl-C cancel the running job at its provider, which otherwise goes on",
    )


def run(options: argparse.Namespace) -> int:
    trials = None
    if options.trials is not None:
        trials = arguments.whole_number("--trials", options.trials)

    from embedsweep.cli.hints import next_steps
    from embedsweep.cli.output import (
        note,
        print_decision,
        print_json,
        print_leaderboard,
        promotion_as_dict,
    )
    from embedsweep.cli.progress import progress
    from embedsweep.cli.publication import publish
    from embedsweep.core.errors import UserError
    from embedsweep.workflows.compare import leaderboard
    from embedsweep.workflows.promote import promote
    from embedsweep.workflows.sweep import SweepOptions, run_sweep
    from embedsweep.workflows.sweep.no_result import without_result

    with ExitStack() as running:
        shown = progress()
        with uncollected():
            experiment, dataset, services = _made_ready(options, shown, running)
        run_sweep(experiment, dataset, services, SweepOptions(trials, options.new_study))
        board = leaderboard(services.ledger, experiment.name, experiment.policy)
        promotion, unjudged = None, None
        if not options.no_promote and board.best is not None:
            shown.say("promotion: candidate and champion on the test split")
            try:
                promotion = promote(experiment, dataset, services)
            except UserError as error:
                unjudged = error
        publish(experiment, dataset, services, shown.say, board)
    if options.json:
        document = board.as_dict()
        document["promotion"] = promotion_as_dict(promotion) if promotion else None
        print_json(document)
    else:
        print_leaderboard(board)
    failed = without_result(board.trials, options.experiment)
    if failed is not None:
        raise failed
    if unjudged is not None:
        # What the sweep found stands and is shown, whatever keeps it from being judged.
        raise unjudged
    if options.json:
        return 0
    if promotion is not None:
        print()
        print_decision(promotion)
    has_champion = promotion is not None and promotion.champion is not None
    note(next_steps(options, experiment.model if has_champion else None))
    return 0


def _made_ready(
    options: argparse.Namespace, shown: Lines, running: ExitStack
) -> tuple[Experiment, Dataset, Services]:
    """The experiment checked, and its services, with the libraries that its arms need."""
    from embedsweep import wiring
    from embedsweep.cli.output import note

    experiment, dataset = wiring.load(options.experiment)
    wiring.preflight(experiment, dataset, options.stores)

    def examine() -> None:
        coverage = wiring.examine_bases(experiment, dataset)
        for line in wiring.notes(experiment, dataset, coverage):
            note(f"note: {runnable(line, options)}")

    running.enter_context(shown)
    services = running.enter_context(
        wiring.coordinator(
            options.stores,
            experiment,
            shown,
            prepare=examine,
            cancel_on_interrupt=options.cancel_on_interrupt,
        )
    )
    for arm in experiment.space.arms:
        services.backends[arm.backend]
    return experiment, dataset, services
