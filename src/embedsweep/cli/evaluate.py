"""Measure any model on an experiment's validation data."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.core.errors import Refusal, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a base model, a folder, or models:/…")
    arguments.add_experiment(parser)
    parser.add_argument("--split", default="valid", help="valid; the test split is for promote")


def run(options: argparse.Namespace) -> int:
    if options.split == "test":
        raise Refusal(
            "--split test",
            "the command line",
            "only promotion opens the test split, and each look at it costs evidence",
            "measure on --split valid, or run `embedsweep promote`",
        )
    if options.split != "valid":
        raise UsageError(
            f"--split {options.split}", "the command line", "it is valid", "give --split valid"
        )
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_table
    from embedsweep.evaluation import evaluate

    experiment, dataset = wiring.load(options.experiment)
    with wiring.opened_model(options.stores, options.model) as embedder:
        report = evaluate(embedder, dataset.valid, experiment.objective)
    if options.json:
        print_json(
            {
                "model_reference": options.model,
                "split": options.split,
                "metrics": report.metrics(),
                "n": {str(measure): len(scores) for measure, scores in report.scores.items()},
            }
        )
        return 0
    print_table(
        ("value", "measure"),
        [(f"{value:.4f}", str(measure)) for measure, value in report.means.items()],
    )
    return 0
