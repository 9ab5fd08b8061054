"""Token ids: each list of texts is tokenized once, and shared as a memory map by all who ask.

A list lies in a file under the SHA-256 of the tokenizer, the limit and the texts, so that trials,
sweeps and processes that read the same data read the same pages. No text is kept.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

IdArray = npt.NDArray[np.int32]

LARGEST_STORE = 4 * 2**30
"""Bytes of all files; the ones read longest ago go first."""


class TokenizedTexts:
    """Token ids of texts, in the texts' order.

    Args:
        numbers: The count of texts, where each one's ids begin among the last ones, the number of
            all ids, and the ids.
    """

    def __init__(self, numbers: IdArray) -> None:
        count = int(numbers[0])
        self._starts = numbers[1 : count + 2]
        self._ids = numbers[count + 2 :]
        self.lengths: IdArray = np.diff(self._starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, place: int) -> IdArray:
        return self._ids[self._starts[place] : self._starts[place + 1]]


class TextTokenizer:
    """A model's tokenizer, reading every text up to a limit and padding none.

    Args:
        tokenizer: The model's; it is copied and stays as it is.
        limit: Tokens read of a text, special ones included; None for all.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int | None) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        if limit is not None:
            self._tokenizer.enable_truncation(limit)
        self.digest = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    def numbers(self, texts: Sequence[str]) -> IdArray:
        """What `TokenizedTexts` is made of."""
        # A text may hold half a surrogate pair (JSON allows it), which the tokenizer refuses.
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(whole)]
        starts = accumulate(map(len, ids), initial=0)
        return np.array(
            [len(ids), *starts, *(token for text in ids for token in text)], dtype=np.int32
        )


class TokenStore:
    """Tokenized texts in a folder, as memory maps.

    Args:
        folder: Created when first needed; on no network drive. None to keep nothing.
        largest: Bytes of all its files.
    """

    def __init__(self, folder: Path | None = None, largest: int = LARGEST_STORE) -> None:
        self._folder = folder
        self._largest = largest

    def tokenized(self, tokenizer: TextTokenizer, texts: Sequence[str]) -> TokenizedTexts:
        """Token ids of the texts, read from the folder where they lie there."""
        if self._folder is None:
            return TokenizedTexts(tokenizer.numbers(texts))
        path = self._folder / f"{_digest(tokenizer, texts)}.npy"
        try:
            # Opening keeps the pages, also when another process removes the name afterwards.
            numbers = np.load(path, mmap_mode="r", allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            numbers = tokenizer.numbers(texts)
            self._keep(path, numbers)
        return TokenizedTexts(numbers)

    def _keep(self, path: Path, numbers: IdArray) -> None:
        """Leave the numbers for others; a full or read-only disk costs them nothing but time."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                np.save(file, numbers)
            Path(file.name).replace(path)
            self._make_room(path.parent)
        except OSError:
            return

    def _make_room(self, folder: Path) -> None:
        files = [(file, file.stat()) for file in folder.iterdir()]
        total = sum(facts.st_size for _, facts in files)
        for file, facts in sorted(files, key=lambda row: row[1].st_mtime):
            if total <= self._largest:
                return
            file.unlink(missing_ok=True)
            total -= facts.st_size


def _digest(tokenizer: TextTokenizer, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(tokenizer.digest.encode())
    for text in texts:
        content = text.encode("utf-8", "replace")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
