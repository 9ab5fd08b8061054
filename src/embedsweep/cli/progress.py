"""Progress for people: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

_SWEEP, _TRIAL = 0, 1


class Bars:
    """A bar for the sweep and one for the running trial; fulfils `workflows.services.Progress`."""

    def __init__(self) -> None:
        self._bars: dict[int, tqdm[NoReturn]] = {}

    def sweep(self, done: int, total: int, best: float | None) -> None:
        reached = "" if best is None else f"best {best:.4f}"
        self._draw(_SWEEP, "sweep", "trial", done, total).set_postfix_str(reached)

    def trial(self, label: str, done: int, total: int) -> None:
        self._draw(_TRIAL, label, "step", done, total).refresh()

    def _draw(self, line: int, label: str, unit: str, done: int, total: int) -> tqdm[NoReturn]:
        bar = self._bars.get(line)
        if bar is None:
            bar = self._bars[line] = tqdm(
                total=total, unit=unit, position=line, leave=line == _SWEEP
            )
        if done < bar.n:
            bar.reset(total)
        bar.set_description_str(label, refresh=False)
        bar.n = done
        return bar

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self._bars.values():
            bar.close()


class Lines(Bars):
    """Plain lines, for logs: what ended and how far the sweep is."""

    def sweep(self, done: int, total: int, best: float | None) -> None:
        reached = "" if best is None else f", best {best:.4f}"
        print(f"sweep: {done} of {total} trials done{reached}", file=sys.stderr, flush=True)

    def trial(self, label: str, done: int, total: int) -> None:
        if done == 1 and total > 1:
            print(f"{label}: {total} steps", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def progress() -> Bars:
    """Bars if standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()
