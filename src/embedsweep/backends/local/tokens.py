"""Token ids: each list of texts is tokenized once, for all who ask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from embedsweep.backends.local.array_store import ArrayStore

IdArray = npt.NDArray[np.int32]


class TokenizedTexts:
    """Token ids of texts, in the texts' order.

    Args:
        numbers: The count of texts, where each one's ids begin among the last ones, the number of
            all ids, and the ids.
        digest: Of the tokenizer, the limit and the texts.
    """

    def __init__(self, numbers: IdArray, digest: str) -> None:
        self.digest = digest
        count = int(numbers[0])
        self._starts = numbers[1 : count + 2]
        self._ids = numbers[count + 2 :]
        self.lengths: IdArray = np.diff(self._starts)

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[IdArray]:
        return (self[place] for place in range(len(self)))

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
        ids = [encoding.ids for encoding in self._encoded(texts)]
        starts = accumulate(map(len, ids), initial=0)
        return np.array(
            [len(ids), *starts, *(token for text in ids for token in text)], dtype=np.int32
        )

    def own_ids(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Return each text's ids, without the special tokens that are put around it."""
        return [
            tuple(compress(encoding.ids, (not each for each in encoding.special_tokens_mask)))
            for encoding in self._encoded(texts)
        ]

    def _encoded(self, texts: Sequence[str]) -> list[Encoding]:
        # A text may hold half a surrogate pair (JSON allows it), which the tokenizer refuses.
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        return self._tokenizer.encode_batch_fast(whole)


def tokenized(tokenizer: TextTokenizer, texts: Sequence[str], store: ArrayStore) -> TokenizedTexts:
    """Token ids of the texts, from the store where they lie there.

    A list lies there under the SHA-256 of the tokenizer, the limit and the texts. No text is kept.
    """
    digest = _digest(tokenizer, texts)
    numbers = store.array(f"{digest}.tokens", lambda: tokenizer.numbers(texts))
    return TokenizedTexts(numbers, digest)


def _digest(tokenizer: TextTokenizer, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(tokenizer.digest.encode())
    for text in texts:
        content = text.encode("utf-8", "replace")
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
