"""The fields a format needs, and what may stand in them."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from embedsweep.data.faults import FaultLog
from embedsweep.data.records import Record
from embedsweep.data.text import shorten

_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")
_MISSING = object()


class Kind(Enum):
    """What a field holds.

    TEXT is text with more than blanks in it; OPTIONAL_TEXT may be empty or missing; TEXTS is a
    text or a list of texts and may be missing; NAME is a text or a whole number, read as text and
    trimmed; OPTIONAL_NAME is such a one and may be missing; NUMBER is finite.
    """

    TEXT = auto()
    OPTIONAL_TEXT = auto()
    TEXTS = auto()
    NAME = auto()
    OPTIONAL_NAME = auto()
    NUMBER = auto()

    @property
    def required(self) -> bool:
        return self not in (Kind.OPTIONAL_TEXT, Kind.TEXTS, Kind.OPTIONAL_NAME)


_EXPECTED = {
    Kind.TEXT: "text",
    Kind.OPTIONAL_TEXT: "text",
    Kind.TEXTS: "text or a list of texts",
    Kind.NAME: "text or a whole number",
    Kind.OPTIONAL_NAME: "text or a whole number",
    Kind.NUMBER: "a finite number",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a format.

    Attributes:
        name: What the format calls it, and its column in CSV.
        kind: What it holds.
        path: Where it stands in a JSON object when that is not its name; dots reach inside.
    """

    name: str
    kind: Kind
    path: str = ""

    def path_in(self, record: Record, columns: Mapping[str, str]) -> str:
        return columns.get(self.name) or (self.path if not record.flat and self.path else self.name)

    def stands_in(self, record: Record, columns: Mapping[str, str]) -> bool:
        return _look_up(record.values, self.path_in(record, columns)) is not _MISSING


class _Unfit(ValueError):
    """The value does not belong in its field; the message says what was found and expected."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


def read_fields(
    record: Record,
    fields: Sequence[Field],
    columns: Mapping[str, str],
    where: str,
    faults: FaultLog,
) -> dict[str, Any] | None:
    """The record's values by field name, or None after logging everything wrong with it.

    A missing optional text or name reads as ``""``, missing texts as ``()``.
    """
    values: dict[str, Any] = {}
    before = faults.total
    for field in fields:
        path = field.path_in(record, columns)
        found = _look_up(record.values, path)
        if found is _MISSING:
            if field.kind.required:
                why, fix = _missing(field, path, record)
                faults.add(f"missing key {path!r}", where, why, fix, record.line)
            else:
                values[field.name] = () if field.kind is Kind.TEXTS else ""
            continue
        try:
            values[field.name] = _READERS[field.kind](found, record.flat)
        except _Unfit as unfit:
            faults.add(f"key {path!r}", where, str(unfit), unfit.fix, record.line)
    return values if faults.total == before else None


def _look_up(values: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path; a key that is the whole path comes first."""
    if path in values:
        return values[path]
    found: object = values
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return _MISSING
        found = found[key]
    return found


def _missing(field: Field, path: str, record: Record) -> tuple[str, str]:
    why = f"the row has only {shorten(', '.join(record.values))}"
    other = field.name if path != field.name and field.name in record.values else "<its key>"
    return why, f"add the key, or say where it is: 'columns: {{{field.name}: {other}}}' under data"


def _wrong_type(found: object, kind: Kind) -> _Unfit:
    return _Unfit(f"found {shorten(found)}, expected {_EXPECTED[kind]}", "correct the value")


def _clean(text: str) -> str:
    bad = _UNPRINTABLE.search(text)
    if bad:
        name = "NUL" if bad[0] == "\0" else f"the lone surrogate \\u{ord(bad[0]):04x}"
        raise _Unfit(f"{name} at character {bad.start() + 1}", "remove it from the text")
    return text


def _text(found: object, flat: bool) -> str:
    text = _optional_text(found, flat)
    if not any(unicodedata.category(character)[0] not in "CZ" for character in text):
        raise _Unfit(f"found {shorten(found)}, expected text", "write the text or take the row out")
    return text


def _optional_text(found: object, flat: bool) -> str:
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.TEXT)
    return _clean(found)


def _texts(found: object, flat: bool) -> tuple[str, ...]:
    if isinstance(found, list):
        return tuple(_text(item, flat) for item in found)
    if flat and not str(found).strip():
        return ()
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.TEXTS)
    return (_text(found, flat),)


def _name(found: object, flat: bool) -> str:
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.NAME)
    return _text(found, flat).strip()


def _number(found: object, flat: bool) -> float:
    if flat:
        try:
            found = float(str(found))
        except ValueError:
            raise _wrong_type(found, Kind.NUMBER) from None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise _wrong_type(found, Kind.NUMBER)
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Unfit(f"found {number}, expected a finite number", "correct the value")
    return number


_READERS = {
    Kind.TEXT: _text,
    Kind.OPTIONAL_TEXT: _optional_text,
    Kind.TEXTS: _texts,
    Kind.NAME: _name,
    Kind.OPTIONAL_NAME: _name,
    Kind.NUMBER: _number,
}
