"""Show every decision on a model, oldest first, and which version is champion now."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.cli.commands import runnable

add_arguments = arguments.add_model_name


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import champion_in_words, note, print_json, print_table
    from embedsweep.workflows.rollback import history, known_standing

    registry = wiring.open_registry(options.stores)
    rows, standing = history(registry, options.model), known_standing(registry, options.model)
    finding = standing.finding()
    if finding is not None:
        note(runnable(f"note: {str(finding).removeprefix('error: ')}", options))
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
    print(champion_in_words(standing.number))
    return 0
