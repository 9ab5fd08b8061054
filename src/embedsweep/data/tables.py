"""Parquet files and Arrow files, as `datasets` saves them, to records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedsweep.data.faults import FaultLog
from embedsweep.data.files import DataFile
from embedsweep.data.foreign import PARQUET
from embedsweep.data.records import Record, Records

_BATCH_ROWS = 1024
_FEATURES = b"huggingface"
"""Key of the schema's metadata under which `datasets` keeps the types of the columns."""


def read_table(file: DataFile, faults: FaultLog) -> Records:
    """Read the rows of a Parquet or an Arrow file, a batch at a time.

    Columns of class labels, which are stored as numbers, are read as the names of the classes.
    """
    with file.path.open("rb") as raw:
        is_parquet = raw.read(len(PARQUET)) == PARQUET
    return Records("Parquet" if is_parquet else "Arrow", _records(file, faults, is_parquet))


def _records(file: DataFile, faults: FaultLog, is_parquet: bool) -> Iterator[Record]:
    number = 0
    try:
        with file.path.open("rb") as raw:
            file.sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
        for batch in _batches(file, is_parquet):
            names = _class_names(batch.schema.metadata or {})
            for values in batch.to_pylist():
                number += 1
                yield Record(number, _plain(values, names))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = f"reading broke off: {str(error).splitlines()[0]}"
        faults.add("file", file.name, why, "write the table again", number + 1)
        return
    if number == 0:
        faults.add("file", file.name, "no records: 0 rows", "give a file with rows in it")


def _batches(file: DataFile, is_parquet: bool) -> Iterator[pa.RecordBatch]:
    if is_parquet:
        with pq.ParquetFile(file.path) as table:
            yield from table.iter_batches(batch_size=_BATCH_ROWS)
        return
    with pa.memory_map(str(file.path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:  # the other of Arrow's two layouts
            reader = pa.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
            return
        yield from reader


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the classes by column, where `datasets` has noted them."""
    try:
        features = json.loads(metadata[_FEATURES])["info"]["features"]
        return {
            column: feature["names"]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _plain(values: dict[str, Any], names: Mapping[str, list[str]]) -> dict[str, Any]:
    """The row in the types that JSON has; a class that has no name, such as -1, is missing."""
    for column, value in values.items():
        if column in names and isinstance(value, int):
            known = names[column]
            values[column] = known[value] if 0 <= value < len(known) else None
        elif isinstance(value, Decimal):
            values[column] = float(value)
    return values
