"""Relevance judgements: a query, a document and a grade on each line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import TextFile
from embedsweep.data.names import OF_JUDGEMENTS, fold
from embedsweep.data.text import counted, shorten

Judgement = tuple[int, str, str, int]
"""Line, query id, document id, grade."""

_THREE = (0, 1, 2)
_TREC = (0, 2, 3)
"""Places of the three on a line of four, whose second field means nothing."""

_WHOLE = re.compile(r"(\d{1,9})(?:\.0*)?", re.ASCII)


def read_judgements(file: TextFile, faults: FaultLog) -> Iterator[Judgement]:
    """Yield the judgements of a file; what is none is logged.

    The first line may name the columns, in any order and among others. Without such a line the
    fields are query, document and grade, or the four of TREC.
    """
    places: Sequence[int] | None = None
    width, separator = len(_THREE), "\t"
    for line, text in file.lines(faults):
        if not text.strip():
            continue
        if places is None and "\t" not in text:
            separator = " "
        cells = _cells(text, separator)
        if places is None:
            width = len(cells)
            is_header, places = _layout(cells)
            if places is None:
                why = f"found {shorten(text.strip())}, expected a query, a document and a grade"
                fix = f"write {shorten('query-id<TAB>corpus-id<TAB>score')} as the first line"
                faults.add("header", file.name, why, fix, line)
                places, width = _THREE, len(_THREE)
            if is_header:
                continue
        if len(cells) != width:
            why = f"found {counted(len(cells), 'field')} between tabs, expected {width}"
            faults.add("judgement", file.name, why, f"write {width} fields between tabs", line)
            continue
        query, document, shown = (cells[place] for place in places)
        grade = _WHOLE.fullmatch(shown)
        if grade is None:
            why = f"found the grade {shorten(shown)}, expected a whole number, 0 or higher"
            fix = "write a whole number, such as 1 for relevant and 0 for a grade below 0"
            faults.add("judgement", file.name, why, fix, line)
        else:
            yield line, query, document, int(grade[1])


def _cells(text: str, separator: str) -> list[str]:
    return (
        text.split() if separator == " " else [c.strip() for c in text.rstrip("\r\n").split("\t")]
    )


def _layout(cells: Sequence[str]) -> tuple[bool, Sequence[int] | None]:
    """Whether the first line is a header, and the places of query, document and grade."""
    folded = [fold(cell) for cell in cells]
    found = [[n for n, name in enumerate(folded) if name in names] for names in OF_JUDGEMENTS]
    if all(len(places) == 1 for places in found):
        return True, [places[0] for places in found]
    for places in (_THREE, _TREC):
        if len(cells) == len(places) + (places is _TREC) and _is_number(cells[places[2]]):
            return False, places
    return True, None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
