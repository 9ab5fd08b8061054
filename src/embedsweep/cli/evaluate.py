"""Evaluate any model on an experiment's validation data, here or at a server.

With --url and --model, a server that speaks the OpenAI API embeds the texts.
"""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.core.errors import Refusal, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "reference", metavar="MODEL", nargs="?", help="a base model, a folder, or models:/…"
    )
    arguments.add_experiment(parser)
    parser.add_argument("--url", help="a server's base URL, such as http://127.0.0.1:8000/v1")
    parser.add_argument("--model", metavar="NAME", help="the server's name of the model")
    parser.add_argument(
        "--api-key-env",
        metavar="VARIABLE",
        help="variable with the server's key (default: EMBEDSWEEP_PROVIDER_KEY, if it is set)",
    )
    parser.add_argument("--split", default="valid", help="valid; the test split is for promote")


def run(options: argparse.Namespace) -> int:
    _check_split(options.split)
    _check_model(options)
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_table
    from embedsweep.core.roles import distinct_roles
    from embedsweep.evaluation import evaluate

    experiment, dataset = wiring.load(options.experiment)
    opened = (
        wiring.model_at(options.stores, options.url, options.model, options.api_key_env)
        if options.url
        else wiring.opened_model(options.stores, options.reference)
    )
    with opened as embedder:
        report = evaluate(embedder, dataset.valid, experiment.objective)
        roles = distinct_roles(embedder.effective_role)
    if options.json:
        print_json(
            {
                "model_reference": options.reference or f"{options.model} at {options.url}",
                "roles": roles,
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


def _check_split(split: str) -> None:
    if split == "test":
        raise Refusal(
            "--split test",
            "the command line",
            "only promotion opens the test split, and each look at it costs evidence",
            "measure on --split valid, or run `embedsweep promote EXPERIMENT.yaml`",
        )
    if split != "valid":
        raise UsageError(
            f"--split {split}", "the command line", "it is valid", "give --split valid"
        )


def _check_model(options: argparse.Namespace) -> None:
    """Raise `UsageError` unless exactly one model is named: by MODEL, or by --url and --model."""
    given = {"--url": options.url, "--model": options.model, "--api-key-env": options.api_key_env}
    given = {name: value for name, value in given.items() if value is not None}
    if options.reference is not None and given:
        raise UsageError(
            ", ".join(given),
            "the command line",
            f"a server's model is named, and MODEL {options.reference} too",
            f"remove {options.reference}, or remove {', '.join(given)}",
        )
    missing = [name for name in ("--url", "--model") if name not in given]
    if options.reference is None and missing:
        raise UsageError(
            "no model to evaluate",
            "the command line",
            f"neither MODEL nor {' and '.join(missing)} is given",
            f"add {' and '.join(missing)}" if given else "write MODEL before EXPERIMENT.yaml",
        )
