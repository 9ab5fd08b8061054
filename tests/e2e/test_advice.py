"""Every advice is followed literally, and the error that gave it must then be gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e import (
    advice_bases,
    advice_commands,
    advice_config,
    advice_data,
    advice_documents,
    advice_formats,
    advice_kept,
    advice_models,
    advice_ports,
    advice_sources,
    advice_stores,
    advice_values,
)
from tests.e2e.advice_followers import follower_of
from tests.e2e.advice_inventory import inventory
from tests.e2e.advice_world import Row, World, sound
from tests.e2e.conftest import alone

AREAS = (
    advice_bases,
    advice_commands,
    advice_config,
    advice_data,
    advice_documents,
    advice_formats,
    advice_kept,
    advice_models,
    advice_ports,
    advice_sources,
    advice_stores,
    advice_values,
)
ROWS: list[Row] = [row for area in AREAS for row in area.ROWS]
PARAMETERS = [
    pytest.param(
        row,
        id=f"{area.__name__.rpartition('_')[2]}: {row.advice[:60]}",
        marks=[pytest.mark.slow] if row.slow else [],
    )
    for area in AREAS
    for row in area.ROWS
]
_A_DEFECT = "a defect of embedsweep: none is known that raises it"
_A_PROGRAM = "a program's mistake: commands rule it out before"
_ANOTHER = "needs another process in between two statements"
_TO_INSTALL = "needs a package index or another version of a package"
NOT_FOLLOWED: dict[str, str] = {
    "this is a fault of embedsweep; report it with the lines above": _A_DEFECT,
    "mend the value": _A_DEFECT,
    "give a function of a module's own": _A_PROGRAM,
    "leave it out": _A_PROGRAM,
    "name one model at least": _A_PROGRAM,
    "name two other models": _A_PROGRAM,
    "open the folder with the backend of its kind": _A_PROGRAM,
    "take the arm out, or give it another provider": _A_PROGRAM,
    "look for another process that moves it, and promote again": _ANOTHER,
    "promote again, without changing the data meanwhile": _ANOTHER,
    "stop that process and run the command again": _ANOTHER,
    "wait until it has, or stop it": _ANOTHER,
    "run `pip install '{…}'`": _TO_INSTALL,
    "use the version of embedsweep that its provenance.json names": _TO_INSTALL,
    "compare the packages in its provenance.json with `embedsweep doctor`; if they agree, this is "
    "another model: promote another version, or roll back": _TO_INSTALL,
    "promote another version, or roll back": "needs a model that broke after it was promoted",
    "rebuild the indexes, then restart the server": "indexes are the clients' own",
    "restore them from a backup, roll back, or promote another version": "needs a remote store",
    "free disk space, make the folder writable, or delete the file to begin anew": "a full disk",
    "open that address in a browser": "a person does",
    "see its message above; if the port is in use, take another with --port": "the pages stay open",
    "see `embedsweep history {…}`": "a first champion has none before it",
    "run it on the server's machine, with MLFLOW_TRACKING_URI set to the database": (
        "needs another machine"
    ),
    "raise `trials` in the experiment, and run `embedsweep sweep EXPERIMENT.yaml`": (
        "a longer sweep may find a better candidate or not"
    ),
    "raise `minutes` under `budget`, and run `embedsweep sweep EXPERIMENT.yaml`": (
        "needs a budget that ends before the first trial on every machine"
    ),
    "check the provider and the store that the failures name, and run `embedsweep sweep "
    "EXPERIMENT.yaml --new-study`": "needs a provider that fails every trial and no sweep",
}
"""Advice that no test can follow, and why."""

FOLLOWED_ELSEWHERE: dict[str, str] = {
    "correct the data, the model or the ranges that the failures name, and run `embedsweep sweep "
    "EXPERIMENT.yaml --new-study`": "e2e/test_nothing_completed.py: test_all_trials_failed",
    "run `embedsweep doctor --relocate`, which backs up the database and corrects the paths": (
        "integration/test_stores_relocation.py: test_the_command_that_the_message_names_leads_out"
    ),
    "put the files into {…}, or set EMBEDSWEEP_ARTIFACTS to the folder that has them, and run "
    "`embedsweep doctor --relocate`": (
        "integration/test_stores_relocation.py: "
        "test_files_that_are_nowhere_are_reported_with_a_way_out"
    ),
    "run `embedsweep rollback {…} --to {…}` to keep version {…}, or `--to {…}` to return to "
    "version {…}": (
        "integration/test_present_state.py: test_doctor_and_history_name_one_command_that_leads_out"
    ),
    "name one of those, or run `embedsweep promote EXPERIMENT.yaml`": (
        "integration/test_present_state.py: "
        "test_only_a_former_champion_becomes_one_without_a_comparison"
    ),
    "run `embedsweep promote EXPERIMENT.yaml` with the experiment of this model": (
        "integration/test_present_state.py: test_where_nothing_is_left_promotion_starts_again"
    ),
    "run the same command again; the sweep continues where it stopped": (
        "integration/test_stores_owner.py: test_a_lost_connection_is_noticed"
    ),
    "wait until {…} ends, or stop it; then the same command continues the sweep": (
        "integration/test_stores_owner.py: test_the_lock_dies_with_its_holder"
    ),
    "to have it done and paid once more: {…}": (
        "integration/test_hosted_jobs.py: "
        "test_a_job_the_provider_has_forgotten_is_told_with_the_way_on"
    ),
    "look for the key at the provider; if it has no such job: {…}": (
        "integration/test_hosted_submission.py: test_a_provider_that_lists_nothing_needs_a_person"
    ),
}
"""Advice that a test of its own follows, which needs a provider or a process that dies."""


FOLLOWED = {row.advice for row in ROWS} | FOLLOWED_ELSEWHERE.keys()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    alone(monkeypatch, tmp_path)
    made = World(tmp_path, monkeypatch)
    sound(made)
    return made


@pytest.mark.parametrize("row", PARAMETERS)
def test_the_advice_works(row: Row, world: World) -> None:
    row.broken(world)
    ended = row.run(world)
    fault = row.fault(ended)
    assert fault is not None, ended.err
    (row.follow or follower_of(fault.fix))(world, fault)
    again = row.run(world)
    left = row.fault(again)
    assert left is None or left.what != fault.what, again.err
    assert again.code == row.code, again.err


def test_every_advice_is_followed() -> None:
    assert sorted(inventory().keys() - FOLLOWED - NOT_FOLLOWED.keys()) == []


def test_what_is_followed_or_left_out_is_still_given() -> None:
    assert sorted((FOLLOWED | NOT_FOLLOWED.keys()) - inventory().keys()) == []
    assert sorted(FOLLOWED & NOT_FOLLOWED.keys()) == []
    for place in FOLLOWED_ELSEWHERE.values():
        file, test = place.split(": ")
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def test_advice_that_is_not_followed_leaves_the_error(world: World) -> None:
    """The control: without the follower a row's error stays."""
    row = ROWS[0]
    row.broken(world)
    assert row.fault(row.run(world)) == row.fault(row.run(world)) is not None
