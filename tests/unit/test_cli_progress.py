"""The speed that bars show, and when there are bars."""

from __future__ import annotations

import sys

import pytest

from embedsweep.cli.progress import Bars, Lines, Pace, progress


def test_a_pace_counts_from_where_it_starts() -> None:
    pace = Pace(5)
    pace.reach(5)
    assert pace.each is None
    assert pace.left(9) is None
    pace.reach(7)
    assert pace.each == pytest.approx(pace.elapsed / 2)
    left = pace.left(9)
    assert left is not None
    assert 0 <= left <= pace.elapsed


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"])
def test_off_a_terminal_there_are_lines_whatever_rich_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert type(progress()) is Lines


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TTY_COMPATIBLE", "0"), ("TTY_INTERACTIVE", "0")]
)
def test_a_terminal_that_cannot_redraw_gets_lines(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(progress(), Bars)
    monkeypatch.setenv(name, value)
    assert type(progress()) is Lines
