"""Recognising what a file's columns are, by their names and, where names do not say, by values."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from embedsweep.data.fields import MISSING, Field, Kind, flattened, grade_of, look_up, mark_of
from embedsweep.data.names import MARK_OF_PAIR, SCORE, SYMMETRIC, fold
from embedsweep.data.records import Record
from embedsweep.data.text import shorten

_NUMBERED = re.compile(r"(.*[a-z])(\d+)")
_CLASSES_OF_INFERENCE = frozenset({0.0, 1.0, 2.0})
_WITHOUT_CLASS = -1.0
_NAMES_OF_INFERENCE = frozenset({"entailment", "neutral", "contradiction"})
NO_COLUMN = ""
"""Stands for the column of a field that the user says the file does not have."""

_SAYS_WHETHER = {Kind.MARK: mark_of, Kind.GRADE: grade_of}
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Shape:
    """What a format reads of a file.

    Attributes:
        name: The format's.
        fields: What a row of it has.
    """

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Match:
    """A format, and the file's columns for its fields.

    Attributes:
        format: Name of the format.
        columns: Columns by field; an empty tuple for an optional field the file does not have.
    """

    format: str
    columns: Mapping[str, tuple[str, ...]]

    def as_yaml(self) -> str:
        """The lines that ask for this reading, for a message."""
        named = ", ".join(
            f"{field}: {_quoted(columns[0])}"
            for field, columns in self.columns.items()
            if len(columns) == 1  # the numbered columns of one field are recognised again
        )
        return f"'format: {self.format}' and 'columns: {{{named}}}'"


class Unclear(ValueError):
    """The columns do not say how the file is to be read. Args: why and fix, as in a fault."""


class Columns:
    """The columns of a file, as its first records show them.

    Args:
        records: The first records, at least one.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        inner = Counter(key for record in records for key in flattened(record.values))
        outer = Counter(key for record in records for key in record.values)
        self.names = tuple(inner)
        self._all = inner | outer
        self._usual = [name for name, count in self._all.items() if 2 * count >= len(records)]

    def match(self, shapes: Sequence[Shape], given: Mapping[str, str], *, is_chosen: bool) -> Match:
        """Return the one way to read the file.

        Args:
            shapes: Formats that are possible, at least one.
            given: Columns by field, as the user gives them.
            is_chosen: Whether the user chose the format.

        Raises:
            Unclear: No format fits, or several do.
        """
        optional = {f.name for shape in shapes for f in shape.fields if not f.required}
        self._check_given({f: path for f, path in given.items() if f not in optional})
        fits, torn = self._fits(self._usual, shapes, given, is_chosen=is_chosen)
        if not fits and not torn:
            fits, torn = self._fits(self._all, shapes, given, is_chosen=is_chosen)
        fits = self._plausible(fits, is_chosen=is_chosen)
        if len(fits) == 1:
            return next(iter(fits.values()))
        if not fits and torn:
            raise torn[0]
        if not fits:
            raise self._unknown(shapes, given)
        ways = "; or ".join(f"{match.as_yaml()}" for match in fits.values())
        why = f"the columns are {self._listed()}, which fit {' and '.join(fits)}"
        raise Unclear(why, f"write under data one of these: {ways}")

    def _check_given(self, given: Mapping[str, str]) -> None:
        for field, path in given.items():
            if all(look_up(record.values, path) is MISSING for record in self._records):
                near = difflib.get_close_matches(path, self.names, n=1, cutoff=0.0)
                meant = _quoted((near or self.names or ("COLUMN",))[0])
                why = f"the columns are {self._listed()}, and none is {json.dumps(path)}"
                raise Unclear(why, f"name one under data: 'columns: {{{field}: {meant}}}'")

    def _fits(
        self,
        names: Collection[str],
        shapes: Sequence[Shape],
        given: Mapping[str, str],
        *,
        is_chosen: bool,
    ) -> tuple[dict[str, Match], list[Unclear]]:
        """The formats that find their columns among the names, and why others are not clear."""
        fits: dict[str, Match] = {}
        torn = []
        for shape in shapes:
            try:
                found = self._columns_of(shape, names, given, is_chosen=is_chosen)
            except Unclear as unclear:
                torn.append(unclear)
            else:
                if found is not None:
                    fits[shape.name] = found
        return fits, torn

    def _columns_of(
        self, shape: Shape, names: Collection[str], given: Mapping[str, str], *, is_chosen: bool
    ) -> Match | None:
        """The columns by field, or None if a field that is needed has none."""
        found: dict[str, tuple[str, ...]] = {}
        for field in shape.fields:
            columns = self._candidates(field, names if field.required else self._all, given)
            taken = {column for others in found.values() for column in others}
            columns = tuple(column for column in columns if column not in taken)
            if field.kind in _SAYS_WHETHER and field.name not in given:
                columns = tuple(c for c in columns if self._may_mark(c, field.kind))
                if is_chosen and columns and not self._are(columns[0], field.kind):
                    raise self._unreadable({**found, field.name: columns[:1]}, field.kind, None)
            if len(columns) > 1 and field.kind is not Kind.TEXTS:
                why = f"the columns are {self._listed()}: {' and '.join(columns)} could be "
                fix = f"name one under data: 'columns: {{{field.name}: {_quoted(columns[0])}}}'"
                raise Unclear(f"{why}the {field.name}", fix)
            if not columns and field.required:
                return None
            found[field.name] = columns
        return Match(shape.name, found)

    def _candidates(
        self, field: Field, names: Collection[str], given: Mapping[str, str]
    ) -> tuple[str, ...]:
        if field.name in given:
            return (given[field.name],) if given[field.name] != NO_COLUMN else ()
        if field.kind is Kind.GRADE and given.get("label") is not None:
            return ()
        if field.kind is Kind.TEXTS:
            many = (n for n in names if _stem(fold(n)) in field.aliases)
            return tuple(sorted(many, key=_number))
        if own := [name for name in (field.path, field.name) if name in names]:
            return tuple(own)
        folded = [name for name in names if fold(name) == field.name]
        aliases = folded or [name for name in names if self._is_alias(field, name)]
        scores = [name for name in aliases if fold(name) in SCORE]
        return tuple(scores if field.kind is Kind.NUMBER and scores else aliases)

    def _is_alias(self, field: Field, name: str) -> bool:
        inner = name.removeprefix("metadata.") if field.path else name
        return fold(inner) in field.aliases and (
            field.kind is not Kind.NUMBER or fold(name) in SCORE or self._numbers(name) is not None
        )

    def _plausible(self, fits: Mapping[str, Match], *, is_chosen: bool) -> dict[str, Match]:
        """The readings that the names and the values bear out, of those that are possible."""
        left = dict(fits)
        pairs, scored, labelled = (left.get(name) for name in ("pairs", "scored", "labelled"))
        if is_chosen or pairs is None:
            if labelled is not None and len(left) > 1 and labelled.columns["text"] == ("text",):
                left = {"labelled": labelled}
            return left
        first, label = pairs.columns["anchor"][0], pairs.columns["label"]
        kind = Kind.MARK if label else Kind.GRADE
        label = label or pairs.columns["grade"]
        marked = bool(label) and self._are(label[0], kind)
        is_of_pair = not label or marked or (scored and scored.columns["score"] == label)
        if labelled is not None and labelled.columns["text"] != ("text",) and is_of_pair:
            del left["labelled"]
        if label and not marked:
            if scored is not None and not self._are_classes(scored.columns["score"][0]):
                left.pop("pairs")
            else:
                if labelled is None or labelled.columns["text"] != ("text",):
                    raise self._unreadable(pairs.columns, kind, labelled)
                none = {**pairs.columns, "label": (NO_COLUMN,), "grade": ()}
                return {"pairs": Match("pairs", none), "labelled": labelled}
        elif scored is not None:
            if label or pairs.columns["negative"]:
                del left["scored"]
            elif fold(first) in SYMMETRIC:
                del left["pairs"]
        return left

    def _unreadable(
        self, columns: Mapping[str, tuple[str, ...]], kind: Kind, labelled: Match | None
    ) -> Unclear:
        """The column that should say whether the texts of a pair belong together does not."""
        field = "label" if kind is Kind.MARK else "grade"
        column = columns[field][0]
        value = next(each for each in self._parts(column) if not _reads(each, kind))
        why = (
            f"the columns are {self._listed()}, and {column} holds {shorten(value)}, "
            "expected 1 or 0, whether the texts of a pair belong together"
        )
        if self._are_classes(column):
            return Unclear(
                why, "keep the rows of entailment alone and drop the column, or write 1 or 0"
            )
        none = Match("pairs", {**columns, "label": (NO_COLUMN,), "grade": ()})
        ways = f"; or {labelled.as_yaml()}" if labelled else ""
        return Unclear(why, f"write 1 or 0; if it says something else, {none.as_yaml()}{ways}")

    def _may_mark(self, column: str, kind: Kind) -> bool:
        return fold(column) not in MARK_OF_PAIR or self._are(column, kind)

    def _are(self, column: str, kind: Kind) -> bool:
        """Whether every value is a mark, or a grade; -1, 0 and 1 together are neither."""
        parts = {str(part).strip() for part in self._parts(column)}
        signs = {part.removesuffix(".0") for part in parts}
        return not {"-1", "0"} <= signs and all(_reads(part, kind) for part in parts)

    def _parts(self, column: str) -> Iterator[object]:
        for value in self._values(column):
            yield from value if isinstance(value, list) else (value,)

    def _numbers(self, column: str) -> set[float] | None:
        """The values as numbers, or None if one is no number."""
        try:
            return {float(str(value).replace(",", ".")) for value in self._values(column)}
        except ValueError:
            return None

    def _are_classes(self, column: str) -> bool:
        """Whether the values are those of entailment, neutral and contradiction."""
        if {str(part).strip().lower() for part in self._parts(column)} & _NAMES_OF_INFERENCE:
            return True
        numbers = self._numbers(column) or set()
        is_score = fold(column) in SCORE
        return not is_score and numbers - {_WITHOUT_CLASS} == set(_CLASSES_OF_INFERENCE)

    def _values(self, column: str) -> Iterator[object]:
        for record in self._records:
            value = look_up(record.values, column)
            if value is not MISSING and value is not None:
                yield value

    def _unknown(self, shapes: Sequence[Shape], given: Mapping[str, str]) -> Unclear:
        """No format fits: the file's own columns stand in the lines to write."""
        if (key := self._key_of_rows()) is not None:
            why = f"the file is one object, whose rows are in the list {json.dumps(key)}"
            return Unclear(why, "write that list alone, as a JSON array, to the file")
        expected = "; ".join(
            f"{' and '.join(field.name for field in shape.fields if field.required)} ({shape.name})"
            for shape in shapes
        )
        which = "the first line names the columns" if self._records[0].flat else "the keys are"
        why = f"{which} {self._listed()}, expected names such as {expected}"
        if self._records[0].flat and any(" " in name.strip() for name in self.names):
            header = ",".join(field.name for field in shapes[0].fields if field.required)
            why += f"; if it is a row, write a header line above it, such as {header}"
        ways = []
        for shape in shapes:
            way = self._guess([field for field in shape.fields if field.required], given)
            if way is not None:
                ways.append(Match(shape.name, way).as_yaml())
        if not ways:
            return Unclear(why, "give a file with a column for each of these")
        return Unclear(why, f"say which is which under data, such as {'; or '.join(ways)}")

    def _key_of_rows(self) -> str | None:
        """The key of a list of objects, if the file is a single object."""
        if len(self._records) > 1:
            return None
        values = self._records[0].values.items()
        lists = {key: value for key, value in values if isinstance(value, list) and value}
        return next((key for key, value in lists.items() if isinstance(value[0], dict)), None)

    def _guess(
        self, fields: Sequence[Field], given: Mapping[str, str]
    ) -> dict[str, tuple[str, ...]] | None:
        """A column for each field: the known ones, and others in the order of the file."""
        known = {field.name: self._candidates(field, self.names, given) for field in fields}
        way = {name: found for name, found in known.items() if len(found) == 1}
        taken = {column for found in way.values() for column in found}
        free = [name for name in self.names if name not in taken and not _is_index(name)]
        # Numbers first, because texts may stand in any column and scores may not.
        for field in sorted(fields, key=lambda field: field.kind is not Kind.NUMBER):
            if field.name not in way:
                fitting = (c for c in free if field.kind is not Kind.NUMBER or self._numbers(c))
                column = next(fitting, None)
                if column is None:
                    return None
                free.remove(column)
                way[field.name] = (column,)
        return {field.name: way[field.name] for field in fields}

    def _listed(self) -> str:
        shown = ", ".join(json.dumps(name, ensure_ascii=False) for name in self.names[:_SHOWN])
        more = len(self.names) - _SHOWN
        return f"{shown} and {more} more" if more > 0 else shown


_SHOWN = 20
"""Columns a message lists at most."""


def _is_index(name: str) -> bool:
    return fold(name) in {"id", "idx", "index", "uuid", "indexlevel0"} or name.startswith("Unnamed")


def _reads(value: object, kind: Kind) -> bool:
    try:
        _SAYS_WHETHER[kind](value)
    except ValueError:
        return False
    return True


def _stem(folded: str) -> str:
    numbered = _NUMBERED.fullmatch(folded)
    return numbered[1] if numbered else folded


def _number(name: str) -> tuple[int, str]:
    numbered = _NUMBERED.fullmatch(fold(name))
    return (int(numbered[2]) if numbered else 0), name


def _quoted(name: str) -> str:
    if name == NO_COLUMN:
        return "null"
    return name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
