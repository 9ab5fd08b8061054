"""The fields a format needs, and what may stand in them."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from embedsweep.data.faults import FaultLog
from embedsweep.data.records import Record
from embedsweep.data.text import shorten

_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")
_BLANK = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"))
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_MARKS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "positive", "pos"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", "negative", "neg", "-1", "-1.0"), False),
}
_GRADE = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)

MISSING = object()
"""What `look_up` returns if nothing is at the path; null is a value."""


class Kind(Enum):
    """What a field holds.

    TEXT is text with more than blanks in it; OPTIONAL_TEXT may be empty or missing; SOME_TEXTS is
    a text or a list of them; TEXTS is the same and may be missing; NAME is a text, a whole number
    or true or false, read as text and trimmed; OPTIONAL_NAME may be missing or empty; NUMBER is
    finite; MARK is 1 or 0, or words or signs for them, or a list of them; GRADE is a whole number,
    0 or higher, or a mark.
    """

    TEXT = auto()
    OPTIONAL_TEXT = auto()
    SOME_TEXTS = auto()
    TEXTS = auto()
    NAME = auto()
    OPTIONAL_NAME = auto()
    NUMBER = auto()
    MARK = auto()
    GRADE = auto()


_ABSENT: Mapping[Kind, object] = {
    Kind.OPTIONAL_TEXT: "",
    Kind.TEXTS: (),
    Kind.OPTIONAL_NAME: "",
    Kind.MARK: None,
    Kind.GRADE: None,
}
"""What a missing value of an optional kind reads as."""

_EXPECTED = {
    Kind.TEXT: "text",
    Kind.OPTIONAL_TEXT: "text",
    Kind.SOME_TEXTS: "text or a list of texts",
    Kind.TEXTS: "text or a list of texts",
    Kind.NAME: "text or a whole number",
    Kind.OPTIONAL_NAME: "text or a whole number",
    Kind.NUMBER: "a finite number",
    Kind.MARK: "1 or 0",
    Kind.GRADE: "a whole number, 0 or higher",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a format.

    Attributes:
        name: What the format calls it.
        kind: What it holds.
        path: Where it stands in a record when that is not its name; dots reach inside.
        aliases: Other names that a file's column may have, as `fold` writes them.
        remedy: What to do if it is missing, beside adding it.
    """

    name: str
    kind: Kind
    path: str = ""
    aliases: Collection[str] = ()
    remedy: str = "remove the row"

    @property
    def required(self) -> bool:
        return self.kind not in _ABSENT


class _Unfit(ValueError):
    """The value does not belong in its field; the message says what was found and expected."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


def read_fields(
    record: Record,
    fields: Sequence[Field],
    columns: Mapping[str, tuple[str, ...]],
    where: str,
    faults: FaultLog,
) -> dict[str, Any] | None:
    """Return the record's values by field name, or None after logging everything wrong with it.

    A missing optional value reads as ``""``, ``()`` or None. Of a field in several columns the
    texts are joined to one tuple.

    Args:
        record: The record.
        fields: What is read of it.
        columns: The record's keys by field name, if they are not the field's own; empty for an
            optional field that the file does not have.
        where: The file, for messages.
        faults: Where faults go.
    """
    values: dict[str, Any] = {}
    before = faults.total
    for field in fields:
        for path in columns.get(field.name, (field.path or field.name,)):
            found = look_up(record.values, path)
            absent = found is MISSING or (found is None and not field.required)
            if absent and field.required:
                keys = ", ".join(flattened(record.values))
                why = f"the row has only {shorten(keys)}"
                fix = f"add the key, or {field.remedy}"
                faults.add(f"missing key {path!r}", where, why, fix, record.line)
            elif not absent:
                try:
                    value = _READERS[field.kind](found, record)
                except _Unfit as unfit:
                    faults.add(f"key {path!r}", where, str(unfit), unfit.fix, record.line)
                else:
                    so_far = values.get(field.name, ())
                    values[field.name] = (*so_far, *value) if isinstance(value, tuple) else value
        values.setdefault(field.name, _ABSENT.get(field.kind))
    return values if faults.total == before else None


def look_up(values: Mapping[str, Any], path: str) -> object:
    """Return the value at a dotted path, or `MISSING`; a key that is the whole path comes first."""
    if path in values:
        return values[path]
    found: object = values
    for key in path.split("."):
        if not isinstance(found, dict) or key not in found:
            return MISSING
        found = found[key]
    return found


def flattened(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the record's keys; those of an object inside it as ``outer.inner``."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key


def _wrong_type(found: object, kind: Kind) -> _Unfit:
    return _Unfit(f"found {shorten(found)}, expected {_EXPECTED[kind]}", "correct the value")


def _clean(text: str) -> str:
    bad = _UNPRINTABLE.search(text)
    if bad:
        name = "NUL" if bad[0] == "\0" else f"the lone surrogate \\u{ord(bad[0]):04x}"
        raise _Unfit(f"{name} at character {bad.start() + 1}", "remove it from the text")
    return text


def _text(found: object, record: Record) -> str:
    text = _optional_text(found, record)
    # Characters newer than Python's table of Unicode, as emoji may be, are of no class (Cn).
    if all(unicodedata.category(character) in _BLANK for character in text):
        raise _Unfit(f"found {shorten(found)}, expected text", "write the text or remove the row")
    return text


def _optional_text(found: object, record: Record) -> str:
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.TEXT)
    return _clean(found)


def _texts(found: object, record: Record) -> tuple[str, ...]:
    if isinstance(found, list):
        return tuple(_text(item, record) for item in found)
    if record.flat and not str(found).strip():
        return ()
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.TEXTS)
    return (_text(found, record),)


def _some_texts(found: object, record: Record) -> tuple[str, ...]:
    texts = _texts(found, record)
    if not texts:
        raise _Unfit(f"found {shorten(found)}, expected text", "write the text or remove the row")
    return texts


def _name(found: object, record: Record) -> str:
    if isinstance(found, bool):
        return json.dumps(found)
    if isinstance(found, int) or (isinstance(found, float) and found.is_integer()):
        return str(int(found))
    if isinstance(found, float):
        why = f"found {found}, expected {_EXPECTED[Kind.NAME]}"
        raise _Unfit(why, f'write it as text, "{found}", if it is a name')
    if not isinstance(found, str):
        raise _wrong_type(found, Kind.NAME)
    return _text(found, record).strip()


def _optional_name(found: object, record: Record) -> str:
    return "" if isinstance(found, str) and not found.strip() else _name(found, record)


def _number(found: object, record: Record) -> float:
    if record.flat:
        text = str(found).strip()
        if record.decimal_comma and _DECIMAL_COMMA.fullmatch(text):
            text = text.replace(",", ".")
        try:
            found = float(text)
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


def _mark(found: object, record: Record) -> bool | tuple[bool, ...]:
    if isinstance(found, list):
        return tuple(mark_of(item) for item in found)
    return mark_of(found)


def mark_of(found: object) -> bool:
    """Return whether a value marks a row as positive.

    Raises:
        ValueError: It is neither 0 nor 1, nor another sign for one of them.
    """
    seen = str(found).strip().lower()
    if seen not in _MARKS:
        raise _wrong_type(found, Kind.MARK)
    return _MARKS[seen]


def _grade(found: object, record: Record) -> int:
    return grade_of(found)


def grade_of(found: object) -> int:
    """Return how well a pair belongs together, 0 for not at all.

    Raises:
        ValueError: It is neither a whole number, 0 or higher, nor a mark.
    """
    seen = str(found).strip()
    if isinstance(found, list):
        raise _wrong_type(found, Kind.GRADE)
    number = _GRADE.fullmatch(seen)
    if number is None and seen.lower() not in _MARKS:
        raise _wrong_type(found, Kind.GRADE)
    return int(number[1]) if number else int(_MARKS[seen.lower()])


_READERS: Mapping[Kind, Callable[[object, Record], object]] = {
    Kind.TEXT: _text,
    Kind.OPTIONAL_TEXT: _optional_text,
    Kind.SOME_TEXTS: _some_texts,
    Kind.TEXTS: _texts,
    Kind.NAME: _name,
    Kind.OPTIONAL_NAME: _optional_name,
    Kind.NUMBER: _number,
    Kind.MARK: _mark,
    Kind.GRADE: _grade,
}
