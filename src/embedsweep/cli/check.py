"""Check an experiment and its data, and train nothing."""

from __future__ import annotations

import argparse

from embedsweep.cli import arguments
from embedsweep.core.errors import UserError

add_arguments = arguments.add_experiment


def run(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import note, print_json, print_table

    try:
        experiment, dataset = wiring.load(options.experiment)
        wiring.preflight(experiment, dataset, options.stores)
    except UserError as error:
        if not options.json:
            raise
        faults = [fault.as_dict() for fault in error.faults]
        print_json({"ok": False, "faults": faults, "total": error.total})
        return error.exit_code
    rows = {split.value: count for split, count in dataset.rows.items()}
    if options.json:
        print_json(
            {
                "ok": True,
                "faults": [],
                "rows": rows,
                "formats": [dataset.format],
                "digests": {split.value: digest for split, digest in dataset.digests.items()},
                "forms": sorted(form.value for form in dataset.train.forms),
                "truncated_share": {
                    name: share
                    for name, (share, _) in wiring.truncation(experiment, dataset).items()
                },
                "warnings": wiring.notes(experiment, dataset),
            }
        )
        return 0
    for line in wiring.notes(experiment, dataset):
        note(f"note: {line}")
    print(f"{experiment.name}: sound; {dataset.format} data, objective {experiment.objective}")
    print_table(("rows", "split"), [(str(count), split) for split, count in rows.items()])
    return 0
