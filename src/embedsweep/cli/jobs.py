"""Show the fine-tuning jobs that sweeps have submitted to providers, or give one up.

`jobs` lists them. `jobs resubmit KEY --yes` says that the provider does not have the job, or shall
not count, so that the next sweep submits it again: it may then be paid for twice.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from embedsweep.core.errors import UsageError

if TYPE_CHECKING:
    from embedsweep.core.jobs import JobRecord


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=["list", "resubmit"], default="list")
    parser.add_argument("key", metavar="KEY", nargs="?", help="the job's key")
    parser.add_argument("--yes", action="store_true", help="do it, at the risk of paying twice")


def run(options: argparse.Namespace) -> int:
    if (options.action == "resubmit") != (options.key is not None):
        raise UsageError(
            f"jobs {options.action}",
            "the command line",
            "resubmit takes the key of a job, and list takes none",
            "write `embedsweep jobs` or `embedsweep jobs resubmit KEY --yes`",
        )
    if options.key is not None and not options.yes:
        raise UsageError(
            f"job {options.key}",
            "the command line",
            "the provider may have it, and would bill it a second time",
            "look at the provider's own list of jobs, then add --yes",
        )
    from embedsweep import wiring
    from embedsweep.cli.output import print_json

    with wiring.job_book(options.stores) as book:
        if options.key is not None:
            record = book.resubmit(options.key)
            if options.json:
                print_json(_as_dict(record))
            else:
                print(f"job {record.key} was {record.state.value}; a sweep may submit it again")
            return 0
        records = book.jobs()
    if options.json:
        print_json([_as_dict(record) for record in records])
    else:
        _print(records)
    return 0


def _print(records: list[JobRecord]) -> None:
    from embedsweep.cli.output import note, print_table

    if not records:
        note("no job has been submitted")
        return
    head = ("key", "attempt", "state", "tokens", "cost", "job", "sweep", "provider")
    rows = [
        (
            record.key,
            str(record.attempt),
            record.state.value,
            str(record.tokens),
            f"{record.cost:.4g}",
            record.job_id or "-",
            record.scope,
            record.provider,
        )
        for record in records
    ]
    print_table(head, rows)


def _as_dict(record: JobRecord) -> dict[str, Any]:
    return {
        "key": record.key,
        "attempt": record.attempt,
        "state": record.state.value,
        "provider": record.provider,
        "sweep": record.scope,
        "created_at": datetime.fromtimestamp(record.created_at, UTC).isoformat(timespec="seconds"),
        "tokens": record.tokens,
        "cost": record.cost,
        "job_id": record.job_id,
        "file_id": record.file_id,
        "model": record.model,
        "message": record.message,
    }
