"""JSON Lines and JSON arrays to objects, in the order of the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import TextFile
from embedsweep.data.text import shorten

_PER_LINE = "write one JSON object per line"
_BROKEN = object()


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


Line = tuple[int, str]
Objects = Iterator[tuple[int, dict[str, Any]]]
"""Each with the line where it begins."""


def line_objects(file: TextFile, lines: Iterator[Line], faults: FaultLog) -> Objects:
    """Yield the objects of JSON Lines, and log every line that is none."""
    first = True
    for number, text in lines:
        text = text.strip()
        if not text:
            continue
        if first and text == "{":
            why = "the file is one JSON object over many lines, expected one object per line"
            faults.add("JSON", file.name, why, f"{_PER_LINE}, or all rows in one array", number)
            return
        first = False
        try:
            values = _DECODER.decode(text)
        except json.JSONDecodeError as error:
            why, fix = _json_fault(text, error)
            faults.add("JSON", file.name, why, fix, number)
        except (ValueError, RecursionError) as error:
            fix = "write one plain object on the line"
            faults.add("JSON", file.name, _unfit(error), fix, number)
        else:
            if isinstance(values, dict):
                yield number, values
                continue
            why = f"found {shorten(values)}, expected an object"
            faults.add("row", file.name, why, _PER_LINE, number)


def _unfit(error: ValueError | RecursionError) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _json_fault(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    if error.msg == "Extra data":
        why = f"two values on the line, the second from column {error.colno}"
        return why, _PER_LINE
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


class _Held:
    """The part of a text that has come and is not used yet, with the lines it is from.

    Attributes:
        text: The part.
        place: Position in it of what is read next.
    """

    def __init__(self, lines: Iterator[Line]) -> None:
        self.text = ""
        self.place = 0
        self._lines = lines
        self._starts: list[tuple[int, int]] = []

    def line(self, place: int) -> int:
        """The number of the line at a position."""
        known = [number for start, number in self._starts if start <= place]
        return known[-1] if known else 1

    def more(self) -> bool:
        """Drop what is used and hold at least as much again; False if nothing more comes.

        Doubling keeps the time in proportion to the file when long elements are tried again.
        """
        moved = [(max(start - self.place, 0), number) for start, number in self._starts]
        last = max((n for n, (start, _) in enumerate(moved) if start == 0), default=0)
        self._starts = moved[last:]
        parts = [self.text[self.place :]]
        held = before = len(parts[0])
        self.place = 0
        for number, text in self._lines:
            self._starts.append((held, number))
            parts.append(text)
            held += len(text)
            if held > 2 * before:
                break
        self.text = "".join(parts)
        return held > before

    def next_character(self) -> str:
        """The next character that is not blank, or "" at the end."""
        while True:
            while self.place < len(self.text):
                if not self.text[self.place].isspace():
                    return self.text[self.place]
                self.place += 1
            if not self.more():
                return ""


def array_objects(file: TextFile, lines: Iterator[Line], faults: FaultLog) -> Objects:
    """Yield the objects of a JSON array; reading ends at the first text that is no JSON."""
    held = _Held(lines)
    held.next_character()
    held.place += 1
    found = held.next_character() != "]"
    while found:
        held.next_character()
        line = held.line(held.place)
        value = _element(file, held, faults)
        if value is _BROKEN:
            return
        if isinstance(value, dict):
            yield line, value
        else:
            why = f"found {shorten(value)}, expected an object"
            faults.add("row", file.name, why, "write the rows as objects", line)
        found = held.next_character() == ","
        held.place += found
    seen = held.next_character()
    if seen != "]":
        why = f"found {seen!r} after an element" if seen else "the array breaks off"
        fix = "write the rest of the array, or a comma between two elements"
        faults.add("JSON", file.name, f"{why}, expected ',' or ']'", fix, held.line(held.place))
        return
    held.place += 1
    if held.next_character():
        why = "there is more text after the end of the array"
        faults.add("JSON", file.name, why, f"{_PER_LINE}, or one array", held.line(held.place))


def _element(file: TextFile, held: _Held, faults: FaultLog) -> object:
    """The next element, or `_BROKEN` after logging why there is none."""
    while True:
        try:
            value, held.place = _DECODER.raw_decode(held.text, held.place)
        except json.JSONDecodeError as error:
            reached = error.pos - held.place
            if held.more():
                continue
            ends = reached >= len(held.text) or error.msg.startswith("Unterminated string")
            why = "the array breaks off" if ends else _said(error)
            line = held.line(reached)
            faults.add("JSON", file.name, why, "correct the JSON of the file", line)
            return _BROKEN
        except (ValueError, RecursionError) as error:
            line = held.line(held.place)
            faults.add("JSON", file.name, _unfit(error), "write plain JSON in the array", line)
            return _BROKEN
        return value
