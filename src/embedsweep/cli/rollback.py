"""Make the previous champion champion again."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments

add_arguments = arguments.add_model_name


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import decision_as_dict, print_json
    from embedsweep.workflows.promote import rollback

    decision = rollback(wiring.open_registry(options.stores), options.model)
    if options.json:
        print_json(decision_as_dict(decision))
    else:
        print(
            f"{decision.model}: champion is version {decision.champion_version} again "
            f"(it was {decision.previous_version})"
        )
    return 0
