"""The manifest of a model: what every file of it must be, and the check that it is."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from embedsweep.core.errors import DataError, Fault, UsageError

MANIFEST_FILE = "manifest.json"
SENTENCE_TRANSFORMERS_FOLDER = "model.sentence_transformer"
OWN_FOLDER = "model.embedsweep"
"""The folder of a kept model that a backend opens: as MLflow's flavour names it, and of the models
that are more than weights."""

ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".md", ".yaml", ".model"})
ALLOWED_NAMES = frozenset({"MLmodel"})
"""Kinds of file that hold data and never code; everything else is refused."""

_RESTORE = "publish the trial again, or restore the model's files from a backup"


def make_empty(folder: Path) -> None:
    """Make the folder a model is copied into; `UsageError` when something is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(
            "folder for a model", str(folder), "it is not empty", "name an empty or a new folder"
        )


def opened_folder(model: Path) -> Path:
    """The folder, in a kept model's, that a backend opens."""
    own = model / OWN_FOLDER
    return own if own.is_dir() else model / SENTENCE_TRANSFORMERS_FOLDER


def files_in(folder: Path, where: str, prefix: str = "") -> dict[str, Path]:
    """Every file of a folder, by its path in the model.

    Args:
        folder: What to list.
        where: What to call the model in a message.
        prefix: Path of the folder in the model; empty for the model itself.

    Raises:
        DataError: A symbolic link, something that is no plain file, or a kind not allowed.
    """
    files: dict[str, Path] = {}
    faults: list[Fault] = []
    for root, folders, names in os.walk(folder):
        for name in sorted((*folders, *names)):
            path = Path(root) / name
            inside = (Path(prefix) / path.relative_to(folder)).as_posix()
            if (why := _unfit(path)) is not None:
                faults.append(_fault(inside, where, why, "use a model without it"))
            elif name in names:
                files[inside] = path
    if faults:
        raise DataError.of(faults)
    return files


def write_manifest(files: Mapping[str, Path], target: Path) -> str:
    """Write the manifest of the files; return its SHA-256.

    Args:
        files: As `files_in` gives them.
        target: The manifest's own path.
    """
    rows = [
        {"path": name, "size": path.stat().st_size, "sha256": _sha256(path)}
        for name, path in sorted(files.items())
    ]
    target.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return _sha256(target)


def verify(folder: Path, digest: str, where: str) -> None:
    """Hold a model's files against its manifest.

    Args:
        folder: The model, in a place that nobody else writes to.
        digest: What the manifest must hash to.
        where: What to call the model in a message.

    Raises:
        DataError: With every file that is missing, extra, changed or of a kind not allowed.
    """
    files = files_in(folder, where)
    manifest = files.pop(MANIFEST_FILE, None)
    if manifest is None:
        raise DataError(MANIFEST_FILE, where, "it is missing", _RESTORE)
    if (found := _sha256(manifest)) != digest:
        raise DataError(
            MANIFEST_FILE, where, f"its SHA-256 is {found}, published was {digest}", _RESTORE
        )
    rows = {row["path"]: row for row in json.loads(manifest.read_text(encoding="utf-8"))}
    faults = [
        _fault(name, where, why, _RESTORE)
        for name in sorted(rows.keys() | files.keys())
        if (why := _difference(rows.get(name), files.get(name))) is not None
    ]
    if faults:
        raise DataError.of(faults)


def _unfit(path: Path) -> str | None:
    if path.is_symlink():
        return "it is a symbolic link, a model holds plain files"
    if path.is_dir():
        return None
    if not path.is_file():
        return "it is no plain file"
    if path.suffix not in ALLOWED_SUFFIXES and path.name not in ALLOWED_NAMES:
        allowed = ", ".join(
            sorted((*ALLOWED_NAMES, *(f"*{suffix}" for suffix in ALLOWED_SUFFIXES)))
        )
        return f"its kind may hold code; allowed are {allowed}"
    return None


def _difference(row: Mapping[str, object] | None, path: Path | None) -> str | None:
    if path is None:
        return "it is missing"
    if row is None:
        return "it is in no manifest"
    if (size := path.stat().st_size) != row["size"]:
        return f"it has {size} bytes, published were {row['size']}"
    if (found := _sha256(path)) != row["sha256"]:
        return f"its SHA-256 is {found}, published was {row['sha256']}"
    return None


def _fault(what: str, where: str, why: str, fix: str) -> Fault:
    return Fault(f"file {what}", where, why, fix)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
