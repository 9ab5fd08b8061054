"""How many texts a model reads only in part. Loads its tokenizer, not the model."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

SAMPLE = 20_000
"""Distinct texts looked at; of a larger data set the first ones."""

_LIMIT_FILES = ("sentence_bert_config.json", "sentence_transformers_config.json")
_BERT = {"normalizer": "BertNormalizer", "pre_tokenizer": "BertPreTokenizer", "model": "WordPiece"}
_BLANKS = re.compile(r"[ \t\n\r]+")


def truncated_share(folder: Path, texts: Iterable[str]) -> tuple[float, int] | None:
    """The share of distinct texts that are longer than the model reads.

    Args:
        folder: A base model's folder.
        texts: Repeats allowed.

    Returns:
        The share, between 0 and 1, and the model's limit in tokens; None where the folder does
        not say how it tokenizes or where it stops reading.
    """
    file, limit = folder / "tokenizer.json", _limit(folder)
    if limit is None or not file.is_file():
        return None
    content = file.read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sample = list(islice(dict.fromkeys(texts), SAMPLE))
    count = _counts_by_words if _goes_by_words(json.loads(content)) else _counts
    longer = sum(found > limit for found in count(tokenizer, sample))
    return (longer / len(sample) if sample else 0.0), limit


def _counts(tokenizer: Tokenizer, texts: Sequence[str], *, special: bool = True) -> list[int]:
    """Tokens of each text, counted by all processors: the tokenizer lets go of Python's lock."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    size = max(1, -(-len(texts) // workers))
    parts = [texts[first : first + size] for first in range(0, len(texts), size)]
    with ThreadPoolExecutor(workers) as pool:
        encode = partial(tokenizer.encode_batch_fast, add_special_tokens=special)
        return [len(encoding.ids) for part in pool.map(encode, parts) for encoding in part]


def _counts_by_words(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[int]:
    """The same, each distinct run of characters between blanks tokenized once."""
    split = [_BLANKS.split(text) for text in texts]
    words = list({word for found in split for word in found})
    known = dict(zip(words, _counts(tokenizer, words, special=False), strict=True))
    special = tokenizer.num_special_tokens_to_add(is_pair=False)
    return (special + sum(map(known.__getitem__, found)) for found in split)


def _goes_by_words(settings: Mapping[str, Any]) -> bool:
    """Whether what stands between blanks is tokenized whatever stands beyond, as by BERT's."""
    kinds = {part: (settings.get(part) or {}).get("type") for part in _BERT}
    blank = any(_BLANKS.search(token["content"]) for token in settings.get("added_tokens", ()))
    return kinds == _BERT and not blank


def _limit(folder: Path) -> int | None:
    for name in _LIMIT_FILES:
        if (file := folder / name).is_file():
            limit = json.loads(file.read_text(encoding="utf-8")).get("max_seq_length")
            return limit if isinstance(limit, int) else None
    return None
