"""Make an earlier champion champion again, by default the previous one."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_model_name(parser)
    parser.add_argument(
        "--to",
        metavar="VERSION",
        help="the earlier champion (default: the one before the present champion)",
    )


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import decision_as_dict, print_json
    from embedsweep.workflows.rollback import rollback

    to = None if options.to is None else arguments.whole_number("--to", options.to)
    decision = rollback(wiring.open_registry(options.stores), options.model, to)
    if options.json:
        print_json(decision_as_dict(decision))
    else:
        print(
            f"{decision.model}: champion is version {decision.champion_version} again "
            f"(it was {decision.previous_version or 'none'})"
        )
    return 0
