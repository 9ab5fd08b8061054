"""Progress of a sweep: bars on a terminal, one line per finished trial elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from embedsweep.core.interrupts import uninterrupted

ECHO_WIDTH = 8
"""Columns left free beside the bars: a terminal writes ``^C`` behind them, and a line that it makes
longer than the screen is wide cannot be redrawn."""

REDRAWS_PER_SECOND = 4


class Lines:
    """One plain line per finished trial, for logs; fulfils `workflows.services.Progress`."""

    def __init__(self) -> None:
        self._known: tuple[int, int] | None = None

    def sweep(self, done: int, total: int, best: float | None, ended: str = "") -> None:
        so_far = f"{done} of {total} trials done{'' if best is None else f', best {best:.4f}'}"
        if ended:
            self.say(f"{ended} ({so_far})")
        elif self._known != (done, total):
            self.say(f"sweep: {so_far}")
        self._known = done, total

    def trial(self, label: str, done: int, total: int | None) -> None:
        """Nothing: the line of the finished trial follows."""

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing: every line is complete."""


@dataclass
class Pace:
    """How fast a count grows, from where it is first seen.

    Attributes:
        done: The count, in steps or trials.
    """

    done: int
    _first: int = field(init=False)
    _start: float = field(init=False)
    _latest: float = field(init=False)

    def __post_init__(self) -> None:
        self._first = self.done
        self._start = self._latest = time.monotonic()

    def reach(self, done: int) -> None:
        """Note the count as it is now; what precedes the first step counts for no step."""
        self.done, self._latest = done, time.monotonic()
        if done == self._first:
            self._start = self._latest

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the latest count."""
        return self._latest - self._start

    @property
    def each(self) -> float | None:
        """Seconds that one takes, or `None` before the first is done."""
        made = self.done - self._first
        return self.elapsed / made if made > 0 else None

    def left(self, total: int) -> float | None:
        """Seconds until `total` is reached, or `None` before the first is done."""
        if self.each is None:
            return None
        since = time.monotonic() - self._latest
        return max(0.0, (total - self.done) * self.each - since)


@dataclass
class _Row:
    """A bar and the texts next to it.

    Attributes:
        label: What is counted, such as ``sweep`` or ``trial 3``.
        total: Where the count ends, or `None` if that is not known yet.
        pace: The count and its speed.
        best: The best objective so far.
    """

    label: str
    total: int | None
    pace: Pace
    best: float | None = None

    def cells(self) -> Iterator[RenderableType]:
        done, total, each = self.pace.done, self.total, self.pace.each
        yield self.label
        yield ProgressBar(total=total, completed=done, animation_time=time.monotonic())
        yield "" if total is None else f"{done}/{total}"
        yield "" if not each else f"{each:.1f} s each" if each >= 1 else f"{1 / each:.1f} per s"
        yield self._time()
        yield "" if self.best is None else f"best {self.best:.4f}"

    def _time(self) -> str:
        left = None if self.total is None else self.pace.left(self.total)
        if left is None:
            return ""
        if self.pace.done == self.total:
            return f"took {timedelta(seconds=round(self.pace.elapsed))}"
        return f"{timedelta(seconds=round(left))} left"


class Bars(Lines):
    """A bar for the sweep and one for the running trial; lines and log records appear above them.

    Args:
        console: Standard error, a terminal.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._sweep: _Row | None = None
        self._trial: _Row | None = None
        self._drawing = ExitStack()
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            refresh_per_second=REDRAWS_PER_SECOND,
            # What is piped elsewhere must arrive there, not among the bars.
            redirect_stdout=sys.stdout.isatty(),
        )

    def sweep(self, done: int, total: int, best: float | None, ended: str = "") -> None:
        if self._sweep is None:
            self._sweep = _Row("sweep", total, Pace(done))
        self._sweep.total, self._sweep.best, self._trial = total, best, None
        self._sweep.pace.reach(done)
        if ended:
            self.say(ended)
        self._draw()

    def trial(self, label: str, done: int, total: int | None) -> None:
        row = self._trial
        goes_on = row is not None and (row.label, row.total) == (label, total)
        if row is None or not goes_on or done < row.pace.done:
            self._trial = _Row(label, total, Pace(done))
        else:
            row.pace.reach(done)
        self._draw()

    def say(self, line: str) -> None:
        # Interrupted in the middle, rich would write the line again with the next one.
        with uninterrupted():
            self._console.print(Text(line))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._trial = None
        with uninterrupted():
            self._drawing.close()

    def _draw(self) -> None:
        """Draw the bars from now on; a thread redraws them."""
        if not self._live.is_started:
            real = sys.stderr
            self._drawing.enter_context(self._live)
            self._drawing.enter_context(_logged_to(sys.stderr, instead_of=real))

    def _drawn(self) -> RenderableType:
        width = max(1, self._console.width - ECHO_WIDTH)
        table = Table(width=width, box=None, padding=(0, 2, 0, 0), show_header=False)
        for place in range(6):
            table.add_column(no_wrap=True, ratio=1 if place == 1 else None)
        for row in (self._sweep, self._trial):
            if row is not None:
                table.add_row(*row.cells())
        return table


@contextmanager
def _logged_to(stream: TextIO, instead_of: TextIO) -> Iterator[None]:
    """Have the log handlers that write to one stream write to another inside the context."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = [
        handler
        for logger in loggers
        if isinstance(logger, logging.Logger)
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is instead_of
    ]
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(instead_of)


def progress() -> Lines:
    """Return bars if standard error is a terminal that can redraw them, else lines."""
    # No wrapping: a line that is copied from the terminal must be the line that was written.
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    can_redraw = console.is_terminal and console.is_interactive and not console.is_dumb_terminal
    # Rich can be told to see a terminal where there is none (FORCE_COLOR), as in a CI log.
    return Bars(console) if can_redraw and sys.stderr.isatty() else Lines()
