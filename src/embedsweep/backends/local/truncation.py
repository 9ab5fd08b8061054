"""How many texts a model reads only in part. Loads its tokenizer, not the model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

SAMPLE = 20_000
"""Distinct texts looked at; of a larger data set the first ones."""

_LIMIT_FILES = ("sentence_bert_config.json", "sentence_transformers_config.json")


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
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    sample = list(islice(dict.fromkeys(texts), SAMPLE))
    longer = sum(len(encoding.ids) > limit for encoding in tokenizer.encode_batch(sample))
    return (longer / len(sample) if sample else 0.0), limit


def _limit(folder: Path) -> int | None:
    for name in _LIMIT_FILES:
        if (file := folder / name).is_file():
            limit = json.loads(file.read_text(encoding="utf-8")).get("max_seq_length")
            return limit if isinstance(limit, int) else None
    return None
