"""Arrays made once and shared as memory maps by all trials, sweeps and processes that ask."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LARGEST_STORE = 8 * 2**30
"""Bytes of all files; the ones read longest ago go first."""


class ArrayStore:
    """Arrays in a folder, each under a name that says what it was made of.

    Args:
        folder: Created when first needed; on no network drive. None to keep nothing.
        largest: Bytes of all its files.
    """

    def __init__(self, folder: Path | None = None, largest: int = LARGEST_STORE) -> None:
        self._folder = folder
        self.largest = largest

    def array(self, name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The array, read from the folder where it lies there whole; else made and left there.

        Args:
            name: A digest of everything that the array hangs on.
            make: Makes it.
        """
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.npy"
        try:
            return _mapped(path)
        except (OSError, ValueError, EOFError):
            made = make()
        try:
            self._keep(path, made)
            # Read back, so that what is used is the system's to drop and not this process's own.
            return _mapped(path)
        except (OSError, ValueError, EOFError):
            # A full or read-only disk costs time and nothing else.
            return made

    def _keep(self, path: Path, made: npt.NDArray[Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                np.save(file, made)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        Path(file.name).replace(path)
        self._make_room(path.parent)

    def _make_room(self, folder: Path) -> None:
        files = [(file, file.stat()) for file in folder.iterdir()]
        total = sum(facts.st_size for _, facts in files)
        for file, facts in sorted(files, key=lambda row: row[1].st_mtime):
            if total <= self.largest:
                return
            file.unlink(missing_ok=True)
            total -= facts.st_size


def _mapped(path: Path) -> npt.NDArray[Any]:
    # Opening keeps the pages, also when another process removes the name afterwards.
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    os.utime(path)
    return array
