"""Judge the best trial against the champion on the test split, and promote it if it is better."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.core.errors import Refusal

add_arguments = arguments.add_experiment


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_decision, print_json, promotion_as_dict
    from embedsweep.cli.progress import progress
    from embedsweep.cli.publication import publish
    from embedsweep.core.promotion import Verdict
    from embedsweep.workflows.promote import promote

    experiment, dataset = wiring.load(options.experiment)
    with progress() as shown, wiring.coordinator(options.stores, experiment, shown) as services:
        promotion = promote(experiment, dataset, services)
        publish(experiment, dataset, services, shown.say)
    decision, outdated = promotion.decision, promotion.outdated
    if options.json:
        print_json(promotion_as_dict(promotion))
    else:
        print_decision(promotion)
    if outdated is not None:
        raise outdated
    return 0 if decision.verdict is Verdict.PROMOTED else Refusal.exit_code
