"""Figures of benchmarks: all their rounds, kept in one JSON document that later runs merge into."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: Unique in the document, such as ``throughput/banking77/ours``.
        unit: Of every round.
        rounds: What each round measured, in order; at least one, all finite.
        detail: What a reader needs beside it, JSON-able.
    """

    name: str
    unit: str
    rounds: tuple[float, ...]
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rounds or not all(math.isfinite(value) for value in self.rounds):
            raise ValueError(f"{self.name} has rounds {self.rounds}, expected finite numbers")

    def as_dict(self, run: str) -> Document:
        """The figure as the document holds it.

        Args:
            run: Key of the run it was measured in.
        """
        return {
            "unit": self.unit,
            "median": statistics.median(self.rounds),
            "mean": statistics.fmean(self.rounds),
            "min": min(self.rounds),
            "max": max(self.rounds),
            "rounds": list(self.rounds),
            "run": run,
            "detail": dict(self.detail),
        }


def merged(
    document: Document, run: str, facts: Mapping[str, Any], figures: Sequence[Figure]
) -> Document:
    """The document with a run's figures in place of those of the same names.

    Args:
        document: What `merged` gave before, or empty.
        run: The run's key.
        facts: The machine's, when the run began.
        figures: What the run measured.

    Returns:
        ``runs`` (facts by key, of the runs some figure is of) and ``figures`` (by name, sorted).
    """
    known = {**document.get("figures", {}), **{each.name: each.as_dict(run) for each in figures}}
    runs = {**document.get("runs", {}), run: dict(facts)}
    used = {figure["run"] for figure in known.values()}
    return {
        "runs": {key: runs[key] for key in sorted(runs) if key in used},
        "figures": {name: known[name] for name in sorted(known)},
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent of the power of the size that fits the values best, by least squares of logs.

    Args:
        sizes: At least two, not all equal, above 0.
        values: One for each size, above 0.
    """
    if len(sizes) != len(values) or len(set(sizes)) < 2:
        raise ValueError(f"{len(values)} values for the sizes {list(sizes)}: no line goes through")
    if min(*sizes, *values) <= 0:
        raise ValueError(f"expected numbers above 0, got {list(sizes)} and {list(values)}")
    slope, _ = statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, values)])
    return slope


def rounding_limit(items: int) -> float:
    """By how much rounding may change a mean of so many items: 1e-3, or one found or lost."""
    return max(1e-3, 1 / items) * (1 + 1e-9)


def table(figures: Sequence[Figure]) -> str:
    """One line for each figure: name, median, range and unit."""
    rows = [
        (
            figure.name,
            f"{statistics.median(figure.rounds):.4g}",
            f"{min(figure.rounds):.4g}..{max(figure.rounds):.4g}",
            str(len(figure.rounds)),
            figure.unit,
        )
        for figure in figures
    ]
    lines = [("figure", "median", "min..max", "rounds", "unit"), *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(5)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, 4) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


class Results:
    """The figures of one run, written to the document as they come.

    Args:
        path: The document; made if absent.
        run: Key of this run.
        facts: The machine's, when the run began.
    """

    def __init__(self, path: Path, run: str, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.figures: list[Figure] = []
        self._run = run
        self._facts = facts

    def record(self, name: str, unit: str, rounds: Sequence[float], **detail: object) -> Figure:
        """Keep a figure at once, so that a benchmark broken off later loses none.

        One recorded again, of more rounds, takes the place of the first.
        """
        figure = Figure(name, unit, tuple(map(float, rounds)), detail)
        self.figures = [each for each in self.figures if each.name != name] + [figure]
        known = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}
        document = merged(known, self._run, self._facts, [figure])
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", "utf-8")
        draft.replace(self.path)
        return figure
