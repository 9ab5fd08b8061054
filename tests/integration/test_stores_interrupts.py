"""Ctrl-C in the middle of a write leaves no lock behind: what follows of it can be written down."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError

from embedsweep.core import interrupts
from embedsweep.core.interrupts import Terminated, terminable, uninterrupted
from embedsweep.stores.store_errors import tells_store_errors

Guard = Callable[[], AbstractContextManager[None]]


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


class Store:
    """A store that is interrupted between a write and its commit."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.connections: list[Connection] = []
        self.engine = create_engine(address, connect_args={"timeout": 0.1})

    def write(self, value: int, during: Callable[[], None] = lambda: None) -> None:
        connection = self.engine.connect()
        # As a traceback does that is still being handled, it keeps the connection alive.
        self.connections.append(connection)
        connection.execute(text(f"INSERT INTO numbers VALUES ({value})"))
        during()
        connection.commit()
        connection.close()

    guarded_write = tells_store_errors("write a number")(write)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path / 'numbers.db'}")
    _begin_where_told(made.engine)
    with made.engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (value INTEGER)"))
    yield made
    for connection in made.connections:
        connection.close()
    made.engine.dispose()


def _begin_where_told(engine: Engine) -> None:
    """The lock is taken with the first write, as MLflow's sessions take it."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def numbers(store: Store) -> list[int]:
    with store.engine.begin() as connection:
        return [row[0] for row in connection.execute(text("SELECT value FROM numbers"))]


def test_the_write_ends_and_then_the_interruption_comes(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.guarded_write(1, interrupt)
    store.guarded_write(2)
    assert numbers(store) == [1, 2]


def test_control_without_it_the_lock_stays(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.write(1, interrupt)
    with pytest.raises(OperationalError, match="locked"):
        store.write(2)


def interrupted_twice(guard: Guard, done: list[str]) -> None:
    with guard():
        done.append("begun")
        interrupt()
        done.append("after the first")
        interrupt()
        done.append("after the second")


def test_the_first_interruption_waits_and_the_second_goes_through_at_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice(uninterrupted, done)
    assert done == ["begun", "after the first"]


def test_control_without_it_the_first_goes_through() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_twice(nullcontext, done)
    assert done == ["begun"]


def interrupted_within(done: list[str]) -> None:
    with uninterrupted():
        with uninterrupted():
            interrupt()
            done.append("the inner block")
        done.append("the outer block")


def test_blocks_within_blocks_end_together() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_within(done)
    assert done == ["the inner block", "the outer block"]


def test_the_handler_is_what_it_was_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        interrupted_within([])
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interruption_nobody_takes_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_touch_no_handler() -> None:
    seen: list[object] = []

    def look() -> None:
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_that_does_not_end_is_interrupted_all_the_same(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that hangs, or is asked again and again, holds a signal back for a while only."""
    monkeypatch.setattr(interrupts, "PATIENCE", 0.2)
    done: list[str] = []

    def call() -> None:
        with terminable(), uninterrupted():
            interrupt(number)
            done.append("held")
            time.sleep(30)
            done.append("the call ended")

    with pytest.raises(KeyboardInterrupt):
        call()
    assert done == ["held"]


def test_sigterm_is_held_back_as_ctrl_c_is(store: Store) -> None:
    with pytest.raises(Terminated), terminable():
        store.guarded_write(1, lambda: interrupt(signal.SIGTERM))
    store.guarded_write(2)
    assert numbers(store) == [1, 2]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
