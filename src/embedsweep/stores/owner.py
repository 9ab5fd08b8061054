"""Who runs a trial, told well enough to know later whether that process is still there."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: Its machine.
        pid: Its number there.
        started: Boot of the machine and tick of the process's start, so that a number used again
            is not taken for the same process; empty where the system does not tell.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> Owner:
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Owner:
        """The process of that number on this machine."""
        return cls(socket.gethostname(), pid, _started(pid))

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """The inverse of `str`; None for anything else."""
        parts = text.split("/")
        if len(parts) != 3 or not parts[1].isdecimal():
            return None
        return cls(parts[0], int(parts[1]), parts[2])

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.started}"

    def is_alive_beside(self) -> bool:
        """Whether it is another process of this machine that still runs."""
        here = Owner.here()
        if self.host != here.host or self.pid == here.pid:
            return False
        return _exists(self.pid) and _started(self.pid) == self.started

    def has_ended(self) -> bool:
        """Whether it is known to have ended; of another machine's process that is not known."""
        here = Owner.here()
        if self.host != here.host:
            return False
        return not (_exists(self.pid) and _started(self.pid) == self.started)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # The fields after the command's name; a zombie has ended, it only waits to be collected.
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot}:{ticks}"
