"""The formats of single files: recognising them, and reading a file's rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from embedsweep.core.dataset import Reading, Split
from embedsweep.core.experiment import DataSpec
from embedsweep.data.columns import Columns, Match, Shape, Unclear
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind, flattened, look_up, read_fields
from embedsweep.data.files import DataFile
from embedsweep.data.labelled import Labelled
from embedsweep.data.pairs import Pairs
from embedsweep.data.records import Record
from embedsweep.data.rows import Draft, Form, Row, T, ties_of
from embedsweep.data.scales import inferred_scale
from embedsweep.data.scored import Scored
from embedsweep.data.sources import Sources, records_of
from embedsweep.data.text import counted
from embedsweep.data.unread import MarkLike

SAMPLE_RECORDS = 100
"""Records whose keys and values decide what a file's columns are."""

SHOWN_KEYS = 10
"""Keys that a note on what is not read names."""

_GROUP = Field("group", Kind.NAME, remedy="remove 'group_by' from data.split")
_SLICE = Field("slice", Kind.NAME, remedy="remove 'slice_by' from data")


class FileFormat(Form[T], Protocol[T]):
    """A form whose rows come from a file of their own."""

    name: str
    fields: tuple[Field, ...]

    def build(self, values: Mapping[str, Any], group: str | None) -> Sequence[T]:
        """Return what one record says, from its checked fields.

        Raises:
            ValueError: The fields contradict one another.
        """
        ...

    def gathered(self, rows: list[Row[T]]) -> tuple[list[Row[T]], str]:
        """Return the rows of a file after joining those that say one thing together, and a note."""
        ...

    def texts(self, value: T) -> tuple[str, ...]:
        """Normalised texts by which rows belong together when a file is split."""
        ...

    def key(self, texts: tuple[str, ...]) -> str:
        """Of these texts, what no two splits may share."""
        ...

    def stratum(self, value: T) -> str: ...


FORMATS: Mapping[str, FileFormat[Any]] = {
    form.name: form for form in (Labelled(), Pairs(), Scored())
}


@dataclass
class _Reader:
    """Reads the files of one data set; its format is that of the first file it can read.

    Attributes:
        spec: The data set.
        faults: Where faults go.
        form: The format, once it is known.
        readings: How each file was read.
        notes: What a reader of the results should know.
    """

    spec: DataSpec
    faults: FaultLog
    form: FileFormat[Any] | None = None
    readings: list[Reading] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def rows(self, file: DataFile, *, measured: bool) -> list[Row[Any]]:
        """Return the file's rows; slices are read of files that are measured on, or in part."""
        written_as, records = records_of(file, self.faults)
        sample = list(itertools.islice(records, SAMPLE_RECORDS))
        match = self._match(file, sample) if sample else None
        if match is None:
            return []
        self.form = form = FORMATS[match.format]
        extras = self._extras(measured=measured)
        fields = (*form.fields, *(each for each, _ in extras))
        columns = {**match.columns, **{each.name: (path,) for each, path in extras}}
        unread: Counter[str] = Counter()
        marks = MarkLike()
        used = frozenset(path for paths in columns.values() for path in paths)
        rows: list[Row[Any]] = []
        for record in itertools.chain(sample, records):
            keys = _unread(record, used)
            unread.update(keys)
            if form.name == Pairs.name and not self._knows_marks(match):
                marks.see(record, keys)
            values = read_fields(record, fields, columns, file.name, self.faults)
            if values is not None:
                rows += self._rows_of(form, values, record, file.name)
        self.readings.append(Reading(file.name, written_as, match.format, match.columns, unread))
        if (unsettled := marks.unsettled(match)) is not None:
            self.faults.add("columns", file.name, *unsettled)
        gathered, note = form.gathered(rows)
        if note:
            self.notes.append(f"{file.name}: {note}")
        if rows and not gathered:
            why = "every row has the label 0, so that no anchor has a positive text"
            self.faults.add("label", file.name, why, "add rows with the label 1")
        return gathered

    def _knows_marks(self, match: Match) -> bool:
        """Whether a column says which pairs belong together, or the user says that none does."""
        is_read = match.columns["label"] or match.columns["grade"]
        return bool(is_read) or "label" in self.spec.columns

    def _match(self, file: DataFile, sample: Sequence[Record]) -> Match | None:
        """How the file is read; None after logging why that is not clear."""
        given = self.spec.columns
        chosen = self.form.name if self.form else self.spec.format
        forms = [FORMATS[chosen]] if chosen else FORMATS.values()
        shapes = [Shape(form.name, form.fields) for form in forms]
        fitting = [s for s in shapes if set(given) <= {each.name for each in s.fields}]
        try:
            is_chosen = self.spec.format is not None
            return Columns(sample).match(fitting or shapes, given, is_chosen=is_chosen)
        except Unclear as unclear:
            why, fix = unclear.args
            self.faults.add("columns", file.name, why, fix, sample[0].line)
            return None

    def _extras(self, *, measured: bool) -> list[tuple[Field, str]]:
        """What the user names beside the format's fields, with its path."""
        group_by = self.spec.split.group_by if self.spec.split else None
        slice_by = self.spec.slice_by if measured else None
        return [(each, path) for each, path in ((_GROUP, group_by), (_SLICE, slice_by)) if path]

    def _rows_of(
        self, form: FileFormat[Any], values: dict[str, Any], record: Record, where: str
    ) -> list[Row[Any]]:
        group, name = values.pop(_GROUP.name, None), values.pop(_SLICE.name, None)
        try:
            built = form.build(values, group)
        except ValueError as error:
            self.faults.add("row", where, str(error), "correct the row or remove it", record.line)
            return []
        rows = []
        for value in built:
            texts = form.texts(value)
            row = Row(
                value=value,
                key=form.key(texts),
                ties=ties_of(texts, group),
                file=where,
                line=record.line,
                stratum=form.stratum(value),
                group=group,
                slice=name,
            )
            rows.append(row)
        return rows


def _unread(record: Record, used: frozenset[str]) -> list[str]:
    """The keys of the record that hold something and are not read."""
    return [
        key
        for key in flattened(record.values)
        if key not in used
        and look_up(record.values, key) not in (None, "")
        and not any(path.startswith(f"{key}.") for path in used)
    ]


def read_files(spec: DataSpec, sources: Sources, faults: FaultLog) -> Draft[Any]:
    """Read the files of a data set.

    Args:
        spec: What is said of them.
        sources: The files by split.
        faults: Where faults go; with one in it, this raises.

    Raises:
        DataError: With every fault of every file.
    """
    reader = _Reader(spec, faults)
    rows: dict[Split, list[Row[Any]]] = {}
    for split, files in sources.files.items():
        measured = split is not Split.TRAIN or len(sources.files) < len(Split)
        rows[split] = [row for file in files for row in reader.rows(file, measured=measured)]
    form, note = _scaled(reader.form, rows, spec, faults)
    faults.raise_if_any()
    if form is None:
        raise AssertionError("a file without faults has a record, and it gave the format")
    unread = map(_note_on, reader.readings)
    return Draft(
        format=form.name,
        form=form,
        rows=rows,
        sources={s: sources.origins.get(s, sources.origins[Split.TRAIN]) for s in Split},
        files=tuple(file for files in sources.files.values() for file in files),
        warnings=(*sources.notes, *note, *reader.notes, *filter(None, unread)),
        readings=tuple(reader.readings),
    )


def _note_on(reading: Reading) -> str:
    """The keys of a file that are not read, or nothing."""
    if not reading.unread:
        return ""
    most = reading.unread.most_common(SHOWN_KEYS)
    shown = ", ".join(f"{key} ({counted(count, 'row')})" for key, count in most)
    more = len(reading.unread) - len(most)
    return f"{reading.file}: not read: {shown}{f' and {more} more keys' if more else ''}"


def _scaled(
    form: FileFormat[Any] | None,
    rows: Mapping[Split, Sequence[Row[Any]]],
    spec: DataSpec,
    faults: FaultLog,
) -> tuple[FileFormat[Any] | None, list[str]]:
    """The format with the scale of its scores, if it has any, and a note that states it."""
    every = [row for part in rows.values() for row in part]
    if not every or not isinstance(form, Scored):
        if every and spec.score_range is not None:
            why = f"the data is {form.name if form else 'unknown'}, which has no scores"
            faults.add("score_range", every[0].file, why, "remove 'score_range' from data")
        return form, []
    scores = {row.value.score for row in every}
    spread = f"{min(scores):g} to {max(scores):g}"
    scale = spec.score_range or inferred_scale(scores)
    if scale is None:
        declared = f"'score_range: [{min(scores):g}, {max(scores):g}]'"
        why = f"the scores run from {spread}, which is no well-known scale"
        fix = f"write the lowest and the highest possible score under data, such as {declared}"
        faults.add("scale of the scores", every[0].file, why, fix)
        return form, []
    low, high = scale
    for row in every:
        if not low <= row.value.score <= high:
            why = f"found {row.value.score:g}, expected a score from {low:g} to {high:g}"
            fix = "correct the score, or widen 'score_range' under data"
            faults.add("score", row.file, why, fix, row.line)
    how = "declared" if spec.score_range else "inferred; declare another with 'score_range'"
    note = f"the scale of the scores is {low:g} to {high:g} ({how}); the data has {spread}"
    return Scored(scale), [note]
