"""A row on its way from a file to a split, and what is asked of every kind of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from embedsweep.core.dataset import Benchmark, Reading, Split, TrainingSet
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import DataFile

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A checked row.

    Attributes:
        value: What it says.
        key: Its normalised text; no two splits may share one.
        ties: Rows that share any of these stay in one split.
        file, line: Where it stands.
        stratum: Splitting keeps some row of each stratum in train: the label, where there is one.
        group: What the user groups by.
        slice: What the user slices by.
    """

    value: T
    key: str
    ties: tuple[str, ...]
    file: str
    line: int
    stratum: str = ""
    group: str | None = None
    slice: str | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


SplitRows = Mapping[Split, Sequence[Row[T]]]


class Texts(NamedTuple):
    """The texts of a row by their role, as written; where none asks, all are documents."""

    queries: tuple[str, ...]
    documents: tuple[str, ...] = ()


class Form(Protocol[T]):
    """How rows of one kind are trained on and measured on."""

    def roles(self, value: T) -> Texts: ...

    def training(self, values: Sequence[T]) -> TrainingSet: ...

    def benchmark(
        self,
        name: str,
        split: Split,
        values: Sequence[T],
        training: TrainingSet,
        slices: Sequence[str] = (),
    ) -> Benchmark:
        """The tasks of a split. Query and example ids begin with the split's name.

        Args:
            name: The data set's.
            split: The split's.
            values: What is measured on.
            training: What is trained on.
            slices: Each value's slice, or nothing where the data has no slices. Of a query that
                several values ask, the first value's slice stands.
        """
        ...

    def check(self, rows: SplitRows[T], faults: FaultLog) -> None:
        """Log whatever keeps the rows, all rules applied, from being trained or measured on."""
        ...


@dataclass(frozen=True)
class Draft(Generic[T]):
    """Data as read, before the rules of splitting, overlap and size.

    Attributes:
        format: Its name in `Dataset.format`.
        form: What its rows are for.
        rows: Rows of each split that has a file of its own.
        sources: Where each of the three splits comes from.
        files: What was read.
        context: Digest of what all splits share beside their rows, such as a corpus.
        warnings: What a reader of the results should know.
        readings: How each file was read.
    """

    format: str
    form: Form[T]
    rows: SplitRows[T]
    sources: Mapping[Split, str]
    files: tuple[DataFile, ...] = ()
    context: str = ""
    warnings: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()


def ties_of(texts: Sequence[str], group: str | None) -> tuple[str, ...]:
    """The ties of a row by its normalised texts and its group."""
    ties = tuple(f"text:{text}" for text in dict.fromkeys(texts))
    return ties if group is None else (*ties, f"group:{group}")
