"""Say what this installation has, and whether its packages and its stores are sound.

Every model's record, aliases and files are looked at, and the runs and files that dead processes
left. Ends with 0 if all is sound, else with the code of the gravest finding.
"""

from __future__ import annotations

import argparse

from embedsweep.cli.commands import advised


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--relocate",
        action="store_true",
        help="first correct the paths in the database of a store that was moved or copied; the "
        "database is backed up",
    )


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import note, print_json, print_table

    if options.relocate:
        _relocate(options.stores)
    found = wiring.examine(options.stores)
    faults = [advised(fault, options) for finding in found.findings for fault in finding.faults]
    if options.json:
        print_json(
            {
                "sound": not faults,
                "packages": found.packages,
                "stores": found.stores,
                "findings": [fault.as_dict() for fault in faults],
            }
        )
        return found.exit_code
    print_table(("version", "package"), [(number, name) for name, number in found.packages.items()])
    for name, state in found.stores.items():
        print(f"{name}: {state}")
    print(f"{len(faults)} findings" if faults else "all is sound")
    for fault in faults:
        note(str(fault))
    return found.exit_code


def _relocate(stores: str | None) -> None:
    from embedsweep import wiring
    from embedsweep.cli.output import note

    done = wiring.relocate(stores)
    if not done.changed:
        note("relocate: the database names the folders of these settings; nothing to correct")
        return
    for move in done.moves:
        note(f"relocate: {move.old} is {move.new} now")
    for place, count in done.changed.items():
        note(f"relocate: {place}: {count} paths corrected")
    if done.missing:
        note(f"relocate: at {done.missing} of the corrected paths there is no file")
    note(f"relocate: the state before is in {done.backup}")
