"""Text to records: JSON Lines, a JSON array or delimited text, with every malformed line logged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from embedsweep.data.delimited import Line, read_delimited
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import TextFile
from embedsweep.data.json_text import array_objects, line_objects

_JSON_ENDINGS = frozenset({".jsonl", ".ndjson", ".json"})
_DELIMITED_ENDINGS = frozenset({".csv", ".tsv", ".tab"})


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        line: Line where it begins, from 1; of a table, the number of its row.
        values: Its values by key.
        flat: Whether every value is text and no key holds others, as in delimited text.
        decimal_comma: Whether numbers may be written ``0,5``, as where semicolons delimit.
    """

    line: int
    values: dict[str, Any]
    flat: bool = False
    decimal_comma: bool = False


class Records(NamedTuple):
    """The records of a file, and how they are written, such as ``JSON Lines``."""

    written_as: str
    records: Iterator[Record]


def read_records(file: TextFile, faults: FaultLog) -> Records:
    """Read the file's records in the notation that its content has.

    A name that ends in ``.csv`` or ``.tsv`` means delimited text, whatever the first character is.
    """
    lines = _without_leading_blanks(file.lines(faults))
    first = next(lines, None)
    if first is None:
        return Records("nothing", iter(()))
    rest = itertools.chain([first], lines)
    start = first[1].lstrip()[0]
    ending = PurePath(file.path.name.removesuffix(".gz")).suffix.lower()
    if ending not in _DELIMITED_ENDINGS and start == "[":
        return Records("a JSON array", _of(array_objects(file, rest, faults)))
    if ending in _JSON_ENDINGS or (ending not in _DELIMITED_ENDINGS and start == "{"):
        return Records("JSON Lines", _of(line_objects(file, rest, faults)))
    dialect, rows = read_delimited(file, rest, faults)
    comma = dialect.delimiter == ";"
    records = (Record(line, dict(row), flat=True, decimal_comma=comma) for line, row in rows)
    return Records(str(dialect), records)


def _without_leading_blanks(lines: Iterator[Line]) -> Iterator[Line]:
    return itertools.dropwhile(lambda line: not line[1].strip(), lines)


def _of(objects: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[Record]:
    return (Record(line, values) for line, values in objects)
