"""Every advice is followed literally, and the error that gave it must then be gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import (
    advice_commands,
    advice_config,
    advice_data,
    advice_documents,
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
    advice_commands,
    advice_config,
    advice_data,
    advice_documents,
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
NOT_FOLLOWED: dict[str, str] = {
    "this is a fault of embedsweep; report it with the lines above": "nothing is known to raise it",
}
"""Advice that no test can follow, and why."""


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
    followed = {row.advice for row in ROWS}
    assert sorted(inventory().keys() - followed - NOT_FOLLOWED.keys()) == []


def test_what_is_followed_or_left_out_is_still_given() -> None:
    followed = {row.advice for row in ROWS}
    assert sorted((followed | NOT_FOLLOWED.keys()) - inventory().keys()) == []
    assert sorted(followed & NOT_FOLLOWED.keys()) == []


def test_advice_that_is_not_followed_leaves_the_error(world: World) -> None:
    """The control: without the follower a row's error stays."""
    row = ROWS[0]
    row.broken(world)
    assert row.fault(row.run(world)) == row.fault(row.run(world)) is not None
