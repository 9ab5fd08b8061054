"""Show which kept models nothing needs and how much room they take; with --delete, remove them.

Never removed are what an alias points to, the last champions of every model, the best trial and
the finalists of every experiment's newest sweep, and what a running sweep may need.
"""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.cli.commands import runnable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delete", action="store_true", help="remove them; without it, only show")
    parser.add_argument(
        "--keep",
        metavar="K",
        default="3",
        help="champions of every model that keep their files (default: 3)",
    )


def run(options: argparse.Namespace) -> int:
    keep = arguments.whole_number("--keep", options.keep, least=0)

    from embedsweep import wiring
    from embedsweep.cli.output import note, print_json, print_table
    from embedsweep.workflows.collect import collect

    found = collect(
        wiring.open_upkeep(options.stores),
        wiring.open_ledger(options.stores),
        wiring.open_registry(options.stores),
        keep,
        delete=options.delete,
    )
    if options.json:
        print_json(found.as_dict())
        return 0
    rows = [
        *(
            (f"{model.size:,}", model.experiment, f"{model.label} {model.reference}")
            for model in found.models
        ),
        *((f"{each.size:,}", "-", f"leftover {each.path}") for each in found.leftovers),
    ]
    if rows:
        print_table(("bytes", "experiment", "what"), rows)
    verb = "removed" if found.deleted else "would be removed"
    print(
        f"{len(found.models)} models and {len(found.leftovers)} leftover folders {verb}, "
        f"{found.size:,} bytes; {len(found.needed)} models are needed"
    )
    if rows and not found.deleted:
        note(runnable("nothing was removed; `embedsweep gc --delete` does it", options))
    return 0
