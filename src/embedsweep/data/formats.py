"""The formats of single files: telling them apart, and reading a file's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from embedsweep.core.dataset import Split
from embedsweep.core.experiment import DataSpec
from embedsweep.data.faults import FaultLog
from embedsweep.data.fields import Field, Kind, read_fields
from embedsweep.data.files import TextFile
from embedsweep.data.labelled import Labelled
from embedsweep.data.pairs import Pairs
from embedsweep.data.records import Record, read_records
from embedsweep.data.rows import Draft, Form, Row, T, ties_of
from embedsweep.data.scored import Scored
from embedsweep.data.text import shorten

GROUP = "group"
SLICE = "slice"
_OF_THE_USER = frozenset({GROUP, SLICE})
"""Fields that no format names and the user may."""


class FileFormat(Form[T], Protocol[T]):
    """A form whose rows come from a file of their own."""

    name: str
    fields: tuple[Field, ...]

    def build(self, values: Mapping[str, Any], group: str | None) -> T:
        """The row's value from its checked fields."""
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


class _Reader:
    """Reads the files of one data set; its format is that of the first record it meets."""

    def __init__(self, spec: DataSpec, faults: FaultLog) -> None:
        self.format: FileFormat[Any] | None = FORMATS[spec.format] if spec.format else None
        self._columns = dict(spec.columns)
        self._faults = faults
        self._group_by = spec.split.group_by if spec.split else None
        self._slice_by = spec.slice_by
        if self._group_by:
            self._columns[GROUP] = self._group_by
        if self._slice_by:
            self._columns[SLICE] = self._slice_by

    def rows(self, file: TextFile, *, measured: bool) -> list[Row[Any]]:
        """The file's rows; slices are read of files that are measured on, in whole or in part."""
        sliced = measured and self._slice_by is not None
        rows = []
        for record in read_records(file, self._faults):
            self.format = self.format or self._told_from(record, file.name)
            if self.format is None:
                return []
            row = self._row(self.format, record, file.name, sliced=sliced)
            if row is not None:
                rows.append(row)
        return rows

    def _row(
        self, form: FileFormat[Any], record: Record, where: str, *, sliced: bool
    ) -> Row[Any] | None:
        fields = form.fields
        if self._group_by:
            fields = (*fields, Field(GROUP, Kind.NAME))
        if sliced:
            fields = (*fields, Field(SLICE, Kind.NAME))
        values = read_fields(record, fields, self._columns, where, self._faults)
        if values is None:
            return None
        group, name = values.pop(GROUP, None), values.pop(SLICE, None)
        value = form.build(values, group)
        texts = form.texts(value)
        return Row(
            value=value,
            key=form.key(texts),
            ties=ties_of(texts, group),
            file=where,
            line=record.line,
            stratum=form.stratum(value),
            group=group,
            slice=name,
        )

    def _told_from(self, record: Record, where: str) -> FileFormat[Any] | None:
        """The format of which the record has the most; all or part, but of one format only."""
        shares = {name: self._share(form, record) for name, form in FORMATS.items()}
        best = max(shares.values())
        names = [name for name, share in shares.items() if share == best]
        if best > 0 and len(names) == 1:
            return FORMATS[names[0]]
        expected = "; ".join(_expected(form, record) for form in FORMATS.values())
        why = f"the row has {shorten(', '.join(record.values))}, expected one of: {expected}"
        fix = "name the keys under data: 'columns: {text: body}'"
        if best > 0:
            why = f"the row fits {' and '.join(names)}"
            fix = f"write 'format: {names[0]}' under data"
        self._faults.add("format", where, why, fix, record.line)
        return None

    def _share(self, form: FileFormat[Any], record: Record) -> float:
        if not (set(self._columns) - _OF_THE_USER) <= {field.name for field in form.fields}:
            return 0.0
        needed = [field for field in form.fields if field.kind.required]
        return sum(field.stands_in(record, self._columns) for field in needed) / len(needed)


def _expected(form: FileFormat[Any], record: Record) -> str:
    needed = [field.path_in(record, {}) for field in form.fields if field.kind.required]
    return f"{' and '.join(needed)} ({form.name})"


def read_files(spec: DataSpec, faults: FaultLog) -> Draft[Any]:
    """The data set of `DataSpec.train`, `DataSpec.valid` and `DataSpec.test`."""
    paths = {Split.TRAIN: spec.train, Split.VALID: spec.valid, Split.TEST: spec.test}
    files = {split: TextFile(path) for split, path in paths.items() if path is not None}
    reader = _Reader(spec, faults)
    rows = {
        split: reader.rows(file, measured=split is not Split.TRAIN or len(files) < len(Split))
        for split, file in files.items()
    }
    faults.raise_if_any()
    if reader.format is None:
        raise AssertionError("a file without faults has a record, and it gave the format")
    return Draft(
        format=reader.format.name,
        form=reader.format,
        rows=rows,
        sources={split: files.get(split, files[Split.TRAIN]).name for split in Split},
        files=tuple(files.values()),
    )
