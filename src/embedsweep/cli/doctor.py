"""Say what this installation has, and whether its packages and its stores are sound.

Every model's record, aliases and files are looked at, and the runs and files that dead processes
left. Ends with 0 if all is sound, else with the code of the gravest finding.
"""

from __future__ import annotations

import argparse

from embedsweep.cli.commands import advised


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import note, print_json, print_table

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
