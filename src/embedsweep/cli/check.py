"""Check an experiment and its data, and train nothing."""

from __future__ import annotations

import argparse
from pathlib import Path

from embedsweep.cli import arguments
from embedsweep.cli.commands import advised, runnable
from embedsweep.core.collection import uncollected
from embedsweep.core.errors import SHOWN_FAULTS, UsageError, UserError
from embedsweep.core.leakage import Leakage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    arguments.add_experiment(parser)
    parser.add_argument(
        "--findings",
        metavar="FILE",
        type=Path,
        help="write all that the splits share to this file, a .csv or a .json",
    )


def run(options: argparse.Namespace) -> int:
    if options.findings is not None:
        _check_ending(options.findings)
    with uncollected():
        return _checked(options)


def _checked(options: argparse.Namespace) -> int:
    from embedsweep import wiring
    from embedsweep.cli.output import note, print_json, print_table

    try:
        experiment, dataset = wiring.load(options.experiment)
        if options.findings is not None:
            _write(options.findings, dataset.leakage)
        wiring.preflight(experiment, dataset, options.stores)
        coverage = wiring.examine_bases(experiment, dataset)
    except UserError as error:
        if not options.json:
            raise
        faults = [advised(fault, options).as_dict() for fault in error.faults]
        print_json({"ok": False, "faults": faults, "total": error.total})
        return error.exit_code
    notes = [runnable(line, options) for line in wiring.notes(experiment, dataset, coverage)]
    rows = {split.value: count for split, count in dataset.rows.items()}
    if options.json:
        print_json(
            {
                "ok": True,
                "faults": [],
                "rows": rows,
                "formats": [dataset.format],
                "readings": [reading.as_dict() for reading in dataset.readings],
                "score_range": dataset.score_range,
                "digests": {split.value: digest for split, digest in dataset.digests.items()},
                "forms": sorted(form.value for form in dataset.train.forms),
                "leakage": dataset.leakage.as_dict(SHOWN_FAULTS),
                "truncated_share": {
                    str(base): found.truncated_share
                    for base, found in coverage.items()
                    if found.limit is not None
                },
                "warnings": notes,
            }
        )
        return 0
    for line in notes:
        note(f"note: {line}")
    print(f"{experiment.name}: sound; {dataset.format} data, objective {experiment.objective}")
    print_table(("rows", "split"), [(str(count), split) for split, count in rows.items()])
    return 0


def _check_ending(path: Path) -> None:
    if path.suffix.lower() not in (".csv", ".json"):
        why = f"found {path.name}, expected a name that ends in .csv or .json"
        raise UsageError("--findings", "the command line", why, "give --findings findings.csv")


def _write(path: Path, leakage: Leakage) -> None:
    text = leakage.as_csv() if path.suffix.lower() == ".csv" else leakage.as_json()
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = f"it cannot be written: {error.strerror}"
        raise UsageError("--findings", str(path), why, "give a file in a folder of yours") from None
