"""Lines to records: JSON Lines and CSV, with every malformed line logged."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NoReturn

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import MAX_LINE_BYTES, TextFile
from embedsweep.data.text import counted, shorten

_JSON_ENDINGS = frozenset({".jsonl", ".ndjson", ".json"})


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        line: Where it begins, from 1.
        values: Its values by key.
        flat: It comes from CSV: every value is text and no key holds others.
    """

    line: int
    values: dict[str, Any]
    flat: bool


def read_records(file: TextFile, faults: FaultLog) -> Iterator[Record]:
    """The file's records, as JSON Lines or CSV by its ending, else by its first character."""
    lines = _without_leading_blanks(file.lines(faults))
    first = next(lines, None)
    if first is None:
        return
    rest = itertools.chain([first], lines)
    if _is_json(file.path, first[1]):
        yield from _json_records(file, rest, faults)
    else:
        yield from _csv_records(file, rest, faults)


def _without_leading_blanks(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    return itertools.dropwhile(lambda line: not line[1].strip(), lines)


def _is_json(path: PurePath, text: str) -> bool:
    ending = PurePath(path.name.removesuffix(".gz")).suffix.lower()
    if ending in _JSON_ENDINGS:
        return True
    return ending != ".csv" and text.lstrip()[0] in "{["


class _NotJson(ValueError):
    """Valid for the parser, and still no record: a key given twice, NaN."""


def _no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _NotJson(f"the key {shorten(twice)} is given twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise _NotJson(f"{name} is no JSON number")


# Built once: a decoder with hooks is made anew on every call of json.loads.
_DECODER = json.JSONDecoder(object_pairs_hook=_no_repeated_keys, parse_constant=_no_constant)


def _json_records(
    file: TextFile, lines: Iterator[tuple[int, str]], faults: FaultLog
) -> Iterator[Record]:
    for number, text in lines:
        text = text.strip()
        if not text:
            continue
        try:
            values = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            why, fix = _json_fault(text, error)
            faults.add("JSON", file.name, why, fix, number)
        except (ValueError, RecursionError) as error:
            why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
            faults.add("JSON", file.name, why, "write one plain object on the line", number)
        else:
            if isinstance(values, dict):
                yield Record(number, values, flat=False)
                continue
            why = f"found {shorten(values)}, expected an object"
            faults.add("row", file.name, why, "write one JSON object per line", number)


def _json_fault(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    if error.msg == "Extra data":
        why = f"two values on the line, the second from column {error.colno}"
        return why, "write one JSON object per line"
    if error.pos >= len(text) or error.msg.startswith("Unterminated string"):
        return (
            f"it breaks off: {_said(error)} (column {error.colno})",
            "write the rest of the line, or take the line out",
        )
    seen = text[error.pos : error.pos + 20]
    why = f"{_said(error)} at column {error.colno}, found {seen!r}"
    return why, "correct the JSON of the line"


def _said(error: json.JSONDecodeError) -> str:
    said = error.msg.removesuffix(" at").removesuffix(" starting")
    return said[0].lower() + said[1:]


def _csv_records(
    file: TextFile, lines: Iterator[tuple[int, str]], faults: FaultLog
) -> Iterator[Record]:
    # The csv module keeps this limit for the whole process; its default refuses long texts.
    csv.field_size_limit(MAX_LINE_BYTES)
    begun: list[int] = []
    rows = csv.reader(_noting(lines, begun), strict=True)
    header: list[str] | None = None
    found, before = False, faults.total
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
        found = found or header is not None
        if header is None:
            header = _csv_header(file, fields, begun[0], faults)
            if header is None:
                return
        elif len(fields) != len(header):
            why = f"found {counted(len(fields), 'field')}, the header names {len(header)}"
            faults.add("row", file.name, why, 'quote fields that hold commas: "a, b"', begun[0])
        else:
            yield Record(begun[0], dict(zip(header, fields, strict=True)), flat=True)
    if not found and faults.total == before:
        faults.add("file", file.name, "no records: only a header", "give a file with rows in it")


def _noting(lines: Iterator[tuple[int, str]], begun: list[int]) -> Iterator[str]:
    """The lines' text, and in ``begun`` the numbers of those a record was made of."""
    for number, text in lines:
        begun.append(number)
        yield text


def _csv_header(file: TextFile, fields: list[str], line: int, faults: FaultLog) -> list[str] | None:
    header = [field.strip() for field in fields]
    twice = sorted({name for name in header if header.count(name) > 1})
    if not twice:
        return header
    why = f"the column {shorten(twice[0])} is named twice"
    faults.add("header", file.name, why, "give each column a name of its own", line)
    return None
