"""Commands on a pseudo-terminal, and what is on its screen in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte

ROWS = 40
CTRL_C = b"\x03"
PATIENCE = 300
BAR = re.compile(r"^(sweep|(?:trial|baseline) \d+|scout) +[━╸╺ ]{4}")
STYLE = re.compile(rb"\x1b\[[0-9;]*m")
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Screen:
    """What a command left on the screen, and how.

    Attributes:
        code: Its exit code.
        lines: The lines of the screen, those that have scrolled away included.
        written: All bytes, in the order in which they were written.
        has_cursor: Whether the cursor can be seen.
    """

    code: int
    lines: list[str]
    written: bytes
    has_cursor: bool

    @property
    def bars(self) -> list[str]:
        """The bars that stayed."""
        return [line for line in self.lines if BAR.match(line)]

    def frames(self, label: str) -> list[str]:
        """A bar as it was drawn, again and again."""
        plain = STYLE.sub(b"", self.written).decode()
        drawn = (frame.split("\r")[0].rstrip() for frame in re.split(r"\x1b\[2K|\n", plain))
        return [frame for frame in drawn if frame.startswith(f"{label} ")]


def on_terminal(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    columns: int,
    interrupt_at: str | None = None,
) -> Screen:
    """Run a command on a terminal of its own until it ends.

    Args:
        command: Its words.
        folder: Where it runs.
        environment: All of its variables.
        columns: Width of the terminal.
        interrupt_at: A pattern of what it writes; where it is found, Ctrl-C is typed.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # Its terminal is the one whose Ctrl-C it hears.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    try:
        written = _read(ours, interrupt_at)
        code = process.wait(PATIENCE)
    finally:
        process.kill()
        os.close(ours)
    screen = pyte.HistoryScreen(columns, ROWS, history=10_000, ratio=0.5)
    pyte.ByteStream(screen).feed(written)
    gone = ["".join(row[place].data for place in range(columns)) for row in screen.history.top]
    lines = [line.rstrip() for line in (*gone, *screen.display)]
    return Screen(code, lines, written, has_cursor=not screen.cursor.hidden)


def _read(terminal: int, interrupt_at: str | None) -> bytes:
    written, is_waited_for = b"", interrupt_at is not None
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            part = os.read(terminal, 2**16)
        except OSError:  # nobody has the other end any more (Linux)
            break
        if not part:
            break
        written += part
        plain = STYLE.sub(b"", written).decode(errors="replace")
        if is_waited_for and interrupt_at and re.search(interrupt_at, plain):
            os.write(terminal, CTRL_C)
            is_waited_for = False
    return written
