"""Where the time of a piece of work goes, told by which of some functions it is in.

A profile of this thread: each call that a rule names opens a span, and time belongs to the
innermost one. Work that another thread does while this one waits counts for the waiting span.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import FrameType
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What opens a span.

    Attributes:
        span: Its name.
        file: End of the path of the file whose functions open it; empty for functions in C.
        functions: Their names; empty for every function of the file.
        whole: Whether spans inside it are a part of it and not told apart.
    """

    span: str
    file: str
    functions: tuple[str, ...] = ()
    whole: bool = False

    def names(self, file: str, function: str) -> bool:
        if self.functions and function not in self.functions:
            return False
        return PurePath(file).as_posix().endswith(self.file) if self.file else not file


class Spans:
    """Sums seconds by span.

    Args:
        rules: The first that names a function opens its span.
        rest: Name of the time that is in no span.
        clock: Tells the seconds.

    Attributes:
        seconds: By span.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        rest: str = "other",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._open: list[tuple[str, bool, int]] = [(rest, False, 0)]
        self._known: dict[object, Rule | None] = {}
        self._depth = 0
        self._since = 0.0
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._since = self._clock()
        sys.setprofile(self._on_event)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._tick()

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" or event == "c_call":
            self._depth += 1
            _, whole, _ = self._open[-1]
            if whole:
                return
            rule = self._rule(frame, event, argument)
            if rule is not None:
                self._tick()
                self._open.append((rule.span, rule.whole, self._depth))
        else:
            if len(self._open) > 1 and self._open[-1][2] == self._depth:
                self._tick()
                self._open.pop()
            self._depth -= 1

    def _rule(self, frame: FrameType, event: str, argument: Any) -> Rule | None:
        if event == "call":
            key: object = frame.f_code
            file, function = frame.f_code.co_filename, frame.f_code.co_name
        else:
            key = file, function = "", argument.__name__
        if key not in self._known:
            named = (rule for rule in self._rules if rule.names(file, function))
            self._known[key] = next(named, None)
        return self._known[key]

    def _tick(self) -> None:
        now = self._clock()
        self.seconds[self._open[-1][0]] += now - self._since
        self._since = now


def profiled(work: Callable[[], object], rules: Sequence[Rule]) -> dict[str, float]:
    """Seconds by span of a piece of work, the longest first."""
    spans = Spans(rules)
    with spans.watching():
        work()
    return dict(sorted(spans.seconds.items(), key=lambda row: -row[1]))
