"""Turns at the registry: by files on one machine, in PostgreSQL for all who share one."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path

import pytest

from embedsweep.core.errors import StoreError
from embedsweep.stores.registry_locks import turns_at

SOON = 0.4


def holds_off(first: tuple[str, Path], second: tuple[str, Path], name: str = "support") -> bool:
    """Whether the second must wait for its turn while the first has it; both get one in the end."""
    began = threading.Event()
    took: list[float] = []

    def wait() -> None:
        start = time.monotonic()
        began.set()
        with turns_at(*second)(name):
            took.append(time.monotonic() - start)

    other = threading.Thread(target=wait)
    with turns_at(*first)("support"):
        other.start()
        began.wait()
        time.sleep(SOON)
        waiting = not took
    other.join(timeout=30)
    assert took
    return waiting


def test_processes_of_a_machine_take_turns_by_file(tmp_path: Path) -> None:
    here = (f"sqlite:///{tmp_path}/study.db", tmp_path)
    assert holds_off(here, here)
    assert not holds_off(here, here, name="other")
    # What one machine locks, another does not see.
    assert not holds_off(here, (here[0], tmp_path / "elsewhere"))


def test_machines_that_share_a_database_take_turns_in_it(postgresql: str, tmp_path: Path) -> None:
    one, two = (postgresql, tmp_path / "one"), (postgresql, tmp_path / "two")
    assert holds_off(one, two)
    assert not holds_off(one, two, name="other")


def _hold(url: str, folder: Path, held: multiprocessing.synchronize.Event) -> None:
    with turns_at(url, folder)("support"):
        held.set()
        time.sleep(60)


def test_a_holder_that_is_killed_holds_nobody_off(postgresql: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(postgresql, tmp_path, held), daemon=True)
    holder.start()
    assert held.wait(30)
    holder.kill()
    holder.join()
    began = time.monotonic()
    with turns_at(postgresql, tmp_path)("support"):
        assert time.monotonic() - began < 10


def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="take a turn at the registry"),
        turns_at("postgresql://nobody@127.0.0.1:1/none", tmp_path)("support"),
    ):
        raise AssertionError("nobody has the turn")
