"""Show every decision on a model, oldest first."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments

add_arguments = arguments.add_model_name


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import print_json, print_table
    from embedsweep.workflows.promote import history

    rows = history(wiring.open_registry(options.stores), options.model)
    if options.json:
        print_json(rows)
        return 0
    print_table(
        ("at", "version", "champion before", "after", "gain", "verdict"),
        [
            (
                row["at"],
                str(row["version"]),
                str(row["from"]),
                str(row["to"]),
                "-" if row["gain"] is None else f"{row['gain']:+.4f}",
                f"{row['verdict']} by {row['by']}",
            )
            for row in rows
        ],
    )
    return 0
