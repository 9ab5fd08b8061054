"""Delimited text to records: commas, semicolons, tabs or bars, found from the first lines."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import MAX_LINE_BYTES, TextFile
from embedsweep.data.text import counted, shorten

SAMPLE_LINES = 50
"""Lines that decide about the delimiter."""

_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel is told the delimiter; it is no row."""

_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

Line = tuple[int, str]


class Dialect(NamedTuple):
    """How fields are divided, and whether quotes around a field are no part of it."""

    delimiter: str
    quoted: bool = True

    def __str__(self) -> str:
        name = _NAMES.get(self.delimiter, repr(self.delimiter))
        return f"text delimited by {name}{'' if self.quoted else ', unquoted'}"

    def rows(self, lines: Iterator[str]) -> Iterator[list[str]]:
        quote = '"' if self.quoted else None
        return csv.reader(lines, delimiter=self.delimiter, quotechar=quote, strict=True)


_DIALECTS = (*map(Dialect, _NAMES), Dialect("\t", quoted=False))
"""In the order of preference where several fit equally well."""


class Delimited(NamedTuple):
    """Rows of a delimited file.

    Attributes:
        dialect: The file's.
        rows: First line and values by column of each row.
    """

    dialect: Dialect
    rows: Iterator[tuple[int, dict[str, str]]]


def read_delimited(file: TextFile, lines: Iterator[Line], faults: FaultLog) -> Delimited:
    """Read the rows below the header; each malformed one is logged.

    Args:
        file: The file, for messages.
        lines: Its lines, the first one not blank.
        faults: Where faults go.
    """
    # The csv module keeps this limit for the whole process; its default refuses long texts.
    csv.field_size_limit(MAX_LINE_BYTES)
    before = faults.total
    sample = list(itertools.islice(lines, SAMPLE_LINES))
    declared = _SEP_LINE.fullmatch(sample[0][1]) if sample else None
    if declared is not None:
        sample = sample[1:]
    dialect = Dialect(declared[1]) if declared else _dialect([text for _, text in sample])
    rows = _rows(file, dialect, itertools.chain(sample, lines), faults)
    return Delimited(dialect, _not_none(file, rows, faults, before))


def _not_none(
    file: TextFile, rows: Iterator[tuple[int, dict[str, str]]], faults: FaultLog, before: int
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows; it is a fault if there are none and nothing else says why."""
    found = False
    for row in rows:
        found = True
        yield row
    if not found and faults.total == before:
        faults.add("file", file.name, "no records: only a header", "give a file with rows in it")


def _dialect(sample: list[str]) -> Dialect:
    """The dialect in which most rows have as many fields as the header, which has several."""
    return max(_DIALECTS, key=lambda dialect: _fit(dialect, sample))


def _fit(dialect: Dialect, sample: list[str]) -> tuple[int, int]:
    """Rows of the header's width, and that width; nothing if the header is one field."""
    rows = dialect.rows(iter(sample))
    widths: list[int] = []
    while True:
        try:
            fields = next(rows, None)
        except csv.Error:
            continue
        if fields is None:
            break
        if any(field.strip() for field in fields):
            widths.append(len(fields))
    if not widths or widths[0] == 1:
        return 0, 0
    return widths.count(widths[0]), widths[0]


def _rows(
    file: TextFile, dialect: Dialect, lines: Iterator[Line], faults: FaultLog
) -> Iterator[tuple[int, dict[str, str]]]:
    begun: list[int] = []
    rows = dialect.rows(_noting(lines, begun))
    header: list[str] | None = None
    while True:
        begun.clear()
        try:
            fields = next(rows, None)
        except csv.Error as error:
            why = f"{error} (the record begins on this line)"
            faults.add("CSV", file.name, why, "close every quote, double quotes inside", begun[0])
            continue
        if fields is None:
            break
        if not any(field.strip() for field in fields):
            continue
        if header is None:
            header = _header(file, fields, begun[0], faults)
            if header is None:
                return
        elif len(fields) != len(header):
            why = f"found {counted(len(fields), 'field')}, the header names {len(header)}"
            if len(fields) < len(header):
                fix = "add the missing fields, or remove the row"
            elif len(header) == 1:
                fix = "make the first line the one that names the columns"
            else:
                fix = f'put quotes around fields that hold "{dialect.delimiter}"'
            faults.add("row", file.name, why, fix, begun[0])
        else:
            named = zip(header, fields, strict=True)
            yield begun[0], {name: field for name, field in named if name}


def _noting(lines: Iterator[Line], begun: list[int]) -> Iterator[str]:
    """The lines' text, and in ``begun`` the numbers of those a record was made of."""
    for number, text in lines:
        begun.append(number)
        yield text


def _header(file: TextFile, fields: list[str], line: int, faults: FaultLog) -> list[str] | None:
    """The column names; an empty one, as spreadsheets and indexes have, names no column."""
    header = [field.strip() for field in fields]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if not twice:
        return header
    why = f"the column {shorten(twice[0])} is named twice"
    faults.add("header", file.name, why, "give each column a name of its own", line)
    return None
