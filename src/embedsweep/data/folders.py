"""Folders of data: the files of each split, told by the README, by folders or by names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from embedsweep.core.dataset import Split
from embedsweep.core.errors import DataError
from embedsweep.data.text import counted, shorten

KINDS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".csv", ".tsv", ".json")
"""Of a folder's files, those of the first kind it has are read."""
_NO_DATA = frozenset({"dataset_infos.json", "dataset_info.json", "state.json", "dataset_dict.json"})

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training"), Split.TRAIN),
    **dict.fromkeys(("valid", "validation", "val", "dev", "development"), Split.VALID),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), Split.TEST),
}


def parts_of(folder: Path, subset: str | None, notes: list[str]) -> dict[Split, list[Path]]:
    """Return the folder's data files by split: as its README declares them, else by their names.

    Args:
        folder: A folder of files, as `datasets` saves it or as the hub has it.
        subset: Which of its subsets, or None for the default.
        notes: Gets what is not read.

    Raises:
        DataError: It has no data, or no such subset.
    """
    if subset is not None and not _configs(folder / "README.md"):
        folder /= subset
        if not folder.is_dir():
            why = "there is no folder of this name, and no README that declares it"
            raise DataError(f"subset {subset}", str(folder), why, "remove 'subset' from data")
    declared: dict[Split, list[Path]] = {}
    for name, pattern in declared_files(folder, subset):
        split = _split_of(name)
        if split is not None:
            declared.setdefault(split, []).extend(sorted(folder.glob(pattern)))
    if any(folder.glob("corpus.jsonl*")) and (folder / "qrels").is_dir():
        fix = f"name it under data as 'beir: {folder}'"
        raise DataError("folder", str(folder), "it is a BEIR folder", fix)
    if any(declared.values()):
        return {split: paths for split, paths in declared.items() if paths}
    return _named(folder, notes)


def _named(folder: Path, notes: list[str]) -> dict[Split, list[Path]]:
    """The files by the words in their names; without any such word, all are for training."""
    kinds = {path: kind for path in sorted(folder.rglob("*")) if (kind := _kind(path, folder))}
    best = min(kinds.values(), key=KINDS.index, default=None)
    if best is None:
        raise _no_data(folder)
    named = {
        path: _split_of(str(path.relative_to(folder))) for path, k in kinds.items() if k == best
    }
    default = None if any(named.values()) else Split.TRAIN
    parts: dict[Split, list[Path]] = {}
    for path, found in named.items():
        if (split := found or default) is not None:
            parts.setdefault(split, []).append(path)
            del kinds[path]
    if kinds:
        shown = ", ".join(str(path.relative_to(folder)) for path in list(kinds)[:3])
        notes.append(f"{folder}: {counted(len(kinds), 'file')} not read, such as {shown}")
    return parts


def _kind(path: Path, folder: Path) -> str | None:
    """The file's ending among `KINDS`, or None if it is no data."""
    parts = path.relative_to(folder).parts
    is_kept = path.name in _NO_DATA or path.name.startswith("cache-")  # by `datasets`, of a map
    if is_kept or any(part.startswith((".", "_")) for part in parts):
        return None
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in KINDS and path.is_file() else None


def _split_of(name: str) -> Split | None:
    """The split that the last telling word of a path or a name stands for."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLIT_OF_WORD[word] for word in reversed(words) if word in _SPLIT_OF_WORD), None)


def declared_files(folder: Path, subset: str | None) -> Iterator[tuple[str, str]]:
    """Yield (split, pattern) of the data files that the head of the README declares.

    Raises:
        DataError: There is no such subset, or there are several and none is named.
    """
    configs = _configs(folder / "README.md")
    if not configs:
        return
    by_name = {str(config.get("config_name", "default")): config for config in configs}
    if subset is not None and subset not in by_name:
        why = f"found {shorten(subset)}, expected one of {', '.join(by_name)}"
        fix = f"write 'subset: {next(iter(by_name))}' under data"
        raise DataError("subset", str(folder), why, fix)
    default = next((name for name, each in by_name.items() if each.get("default")), "default")
    name = subset or (default if default in by_name else None)
    if name is None and len(by_name) > 1:
        why = f"the data set has the subsets {', '.join(by_name)}"
        fix = f"name one under data: 'hf: {folder.name}' and 'subset: {next(iter(by_name))}'"
        raise DataError("subset", str(folder), why, fix)
    yield from _patterns(by_name[name or next(iter(by_name))].get("data_files"))


def _configs(readme: Path) -> list[dict[str, Any]]:
    try:
        head = re.match(r"---\s*\n(.*?)\n---", readme.read_text("utf-8"), re.DOTALL)
        found = (yaml.safe_load(head[1]) or {}).get("configs") if head else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError):
        return []
    configs = found if isinstance(found, list) else []
    return [config for config in configs if isinstance(config, dict) and "data_files" in config]


def _patterns(files: object) -> Iterator[tuple[str, str]]:
    """Yield (split, pattern) from any of the forms that the hub knows."""
    if isinstance(files, dict):
        files = [{"split": split, "path": path} for split, path in files.items()]
    for each in files if isinstance(files, list) else [files]:
        entry = each if isinstance(each, dict) else {"split": "train", "path": each}
        paths = entry.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                yield str(entry.get("split", "train")), path


def _no_data(folder: Path) -> DataError:
    why = f"it is a folder without a file that ends in {', '.join(KINDS)}"
    return DataError("folder", str(folder), why, "give a file, or a folder with such files")
