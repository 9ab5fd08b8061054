"""The files of each split: single files, folders of them, and data sets of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from embedsweep.core.dataset import Split
from embedsweep.core.errors import DataError
from embedsweep.core.experiment import DataSpec
from embedsweep.data.faults import FaultLog
from embedsweep.data.files import DataFile, TextFile, is_folder
from embedsweep.data.folders import KINDS, declared_files, parts_of
from embedsweep.data.foreign import ARROW, PARQUET
from embedsweep.data.records import Records, read_records

_TABLES = (PARQUET, ARROW, b"\xff\xff\xff\xff")
"""First bytes of Parquet, of an Arrow file and of an Arrow stream, which `datasets` saves."""

Parts = Mapping[Split, Sequence[Path]]


class Sources(NamedTuple):
    """Where the data is.

    Attributes:
        files: Files of each split that has some, in the order they are read.
        origins: By split, the path or the data set that it comes from.
        notes: What is not read.
    """

    files: Mapping[Split, Sequence[DataFile]]
    origins: Mapping[Split, str]
    notes: tuple[str, ...] = ()


def find_sources(spec: DataSpec) -> Sources:
    """Return the files of the splits; those that have none are left out.

    Raises:
        DataError: A folder holds no data, or the hub does not give the data set.
    """
    notes: list[str] = []
    if spec.hf is not None:
        folder, origin = _fetched(spec.hf, spec.revision, spec.subset)
        parts: dict[Split, Sequence[Path]] = {**parts_of(folder, spec.subset, notes)}
        origins = dict.fromkeys(parts, origin)
    else:
        parts = {**_given(spec.train, Split.TRAIN, notes)}
        origins = dict.fromkeys(parts, str(spec.train))
    for split, path in ((Split.VALID, spec.valid), (Split.TEST, spec.test)):
        if path is not None:
            found = _given(path, split, notes)
            if len(found) > 1 and split not in found:
                raise _no_split(str(path), split, found)
            parts[split] = found.get(split) or next(iter(found.values()))
            origins[split] = str(path)
    if Split.TRAIN not in parts:
        raise _no_split(str(spec.train or spec.hf), Split.TRAIN, parts)
    files = {split: [open_file(path) for path in parts[split]] for split in Split if split in parts}
    return Sources(files, origins, tuple(notes))


def _given(path: Path | None, split: Split, notes: list[str]) -> dict[Split, list[Path]]:
    if path is None or not is_folder(path):
        return {split: [path] if path else []}
    return parts_of(path, None, notes)


def open_file(path: Path) -> DataFile:
    """Return the file as what its first bytes say it is: a table, or else text."""
    try:
        if path.is_file():  # to open a pipe would wait for its writer
            with path.open("rb") as raw:
                if raw.read(len(ARROW)).startswith(_TABLES):
                    return DataFile(path)
    except OSError:
        pass  # reading says why
    return TextFile(path)


def records_of(file: DataFile, faults: FaultLog) -> Records:
    """Return the file's records, in the notation that its content has."""
    if isinstance(file, TextFile):
        return read_records(file, faults)
    from embedsweep.data.tables import read_table  # pyarrow takes long to load

    return read_table(file, faults)


def _fetched(name: str, revision: str | None, subset: str | None) -> tuple[Path, str]:
    """The folder of a data set of the hub, and its name with the commit."""
    if is_folder(Path(name)):
        return Path(name), name
    from huggingface_hub import snapshot_download

    def snapshot(patterns: Sequence[str]) -> Path:
        found = snapshot_download(
            name, repo_type="dataset", revision=revision, allow_patterns=list(patterns)
        )
        return Path(found)

    try:
        folder = snapshot(["README.md"])
        wanted = [pattern for _, pattern in declared_files(folder, subset)]
        every = [f"*{kind}{gzip}" for kind in KINDS for gzip in ("", ".gz")]
        folder = snapshot(["README.md", *(wanted or every)])
    except (OSError, ValueError) as error:
        said = str(error).strip() or type(error).__name__
        why = said.splitlines()[0].rstrip(".")
        fix = "correct the name or the revision, or download it and give its folder"
        raise DataError(f"data set {name}", "the Hugging Face hub", why, fix) from None
    return folder, f"hf:{name}@{folder.name}"


def _no_split(where: str, split: Split, found: Parts) -> DataError:
    why = f"it has data for {' and '.join(found)}, and none for {split}"
    return DataError(f"{split} split", where, why, f"give the file for {split} itself")
