"""What a tokenizer leaves of texts: how many are truncated, and which become the same."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from tokenizers import Tokenizer

from embedsweep.core.coverage import Coverage

SAMPLE = 20_000
"""Largest number of distinct texts that are tokenized; of more texts, the first ones."""

PROBED = 3
"""Number of longest texts that a base model is tried on."""

_BERT = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}
_BLANKS = re.compile(r"[ \t\n\r]+")


@dataclass(frozen=True, slots=True)
class _Size:
    """What tokenizing a text shows.

    Attributes:
        tokens: Number of tokens, special tokens included.
        largest: Largest token id.
        unknown: Whether the text has a token that the vocabulary lacks.
    """

    tokens: int
    largest: int
    unknown: bool


def read_texts(
    content: str, limit: int | None, texts: Iterable[str]
) -> tuple[Coverage, tuple[str, ...]]:
    """Tokenize the distinct texts.

    Args:
        content: Tokenizer, as the text of a ``tokenizer.json``.
        limit: Tokens that the model reads of a text, special tokens included; `None` for all.
        texts: Texts, repeats allowed.

    Returns:
        What the model reads of the texts; and the texts to try the model on: the longest ones,
        the shortest one and the one with the largest token id, at most `PROBED` + 2.
    """
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sample = list(islice(dict.fromkeys(texts), SAMPLE))
    unknown = _unknown_id(tokenizer)
    size = _sizes_by_words if _goes_by_words(json.loads(content)) else _sizes
    sizes = size(tokenizer, sample, unknown)
    cut = [limit is not None and each.tokens > limit for each in sizes]
    unclear = [at for at, each in enumerate(sizes) if cut[at] or each.unknown]
    alike = _alike(tokenizer, [sample[at] for at in unclear], limit)
    coverage = Coverage(
        texts=len(sample),
        limit=limit,
        truncated=sum(cut),
        alike_truncated=sum(same and cut[at] for at, same in zip(unclear, alike, strict=True)),
        alike_unknown=sum(same and not cut[at] for at, same in zip(unclear, alike, strict=True)),
    )
    return coverage, _probe(sample, sizes)


def _probe(sample: Sequence[str], sizes: Sequence[_Size]) -> tuple[str, ...]:
    by_length = sorted(range(len(sample)), key=lambda at: sizes[at].tokens, reverse=True)
    largest = sorted(range(len(sample)), key=lambda at: sizes[at].largest)[-1:]
    # Texts of different lengths are padded, which is a part of what is tried.
    chosen = dict.fromkeys([*by_length[:PROBED], *by_length[-1:], *largest])
    return tuple(sample[at] for at in chosen)


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of the unknown token, or `None` if every text has tokens of its own."""
    settings: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    if isinstance(settings.get("unk_id"), int):
        return int(settings["unk_id"])
    token = settings.get("unk_token")
    return None if token is None else tokenizer.token_to_id(token)


def _alike(tokenizer: Tokenizer, texts: Sequence[str], limit: int | None) -> list[bool]:
    """Return for each text whether another text has the same tokens up to the limit."""
    if limit is not None:
        tokenizer.enable_truncation(limit)
    ids = [tuple(some.ids) for some in _encoded(tokenizer, texts)]
    counts = Counter(ids)
    return [counts[each] > 1 for each in ids]


def _encoded(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True) -> list[Any]:
    """Return the encodings of the texts, made by all processors.

    The tokenizer releases the interpreter's lock.
    """
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    # A text may hold half a surrogate pair (JSON allows it), which the tokenizer rejects.
    whole = [text.encode("utf-8", "replace").decode() for text in texts]
    step = max(1, -(-len(whole) // workers))
    parts = [whole[first : first + step] for first in range(0, len(whole), step)]
    with ThreadPoolExecutor(workers) as pool:
        encode: Callable[[list[str]], list[Any]] = partial(
            tokenizer.encode_batch_fast, add_special_tokens=special
        )
        return [encoding for part in pool.map(encode, parts) for encoding in part]


def _sizes(
    tokenizer: Tokenizer, texts: Sequence[str], unknown: int | None, *, special: bool = True
) -> list[_Size]:
    found = (encoding.ids for encoding in _encoded(tokenizer, texts, special=special))
    return [_Size(len(ids), max(ids, default=0), unknown in ids) for ids in found]


def _sizes_by_words(tokenizer: Tokenizer, texts: Sequence[str], unknown: int | None) -> list[_Size]:
    """Return the same as `_sizes`, and tokenize each distinct word only once."""
    split = [_BLANKS.split(text) for text in texts]
    words = list({word for found in split for word in found})
    known = dict(zip(words, _sizes(tokenizer, words, unknown, special=False), strict=True))
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    sizes = ([known[word] for word in found] for found in split)
    return [
        _Size(
            special + sum(each.tokens for each in some),
            max((each.largest for each in some), default=0),
            any(each.unknown for each in some),
        )
        for some in sizes
    ]


def _goes_by_words(settings: Mapping[str, Any]) -> bool:
    """Return whether text between blanks is tokenized regardless of its context, as by BERT's."""
    kinds = {part: (settings.get(part) or {}).get("type") for part in _BERT}
    blank = any(_BLANKS.search(token["content"]) for token in settings.get("added_tokens", ()))
    return kinds == _BERT and not blank
