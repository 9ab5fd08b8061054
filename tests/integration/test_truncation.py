"""The share of texts that a model reads only in part, told from its tokenizer alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.truncation import (
    _counts,
    _counts_by_words,
    _goes_by_words,
    truncated_share,
)


def test_the_share_counts_distinct_texts_beyond_the_limit() -> None:
    folder = base_folder(EMBEDDED)
    at_the_limit = "word " * 254  # and one token each for begin and end
    beyond = "word " * 255
    assert truncated_share(folder, [at_the_limit]) == (0.0, 256)
    assert truncated_share(folder, [beyond, beyond, at_the_limit, "a", "b"]) == (0.25, 256)
    assert truncated_share(folder, []) == (0.0, 256)


@pytest.mark.parametrize("left_out", ["tokenizer.json", "sentence_bert_config.json"])
def test_a_model_that_does_not_say_gets_no_figure(left_out: str, tmp_path: Path) -> None:
    for name in {"tokenizer.json", "sentence_bert_config.json"} - {left_out}:
        (tmp_path / name).write_bytes((base_folder(EMBEDDED) / name).read_bytes())
    assert truncated_share(tmp_path, ["text"]) is None


ODD = (
    "plain words, and: punctuation (too)!",
    "  blanks \t\n\r around  ",
    "no\u00a0break, thin\u2009blank, a\u2028line",
    "control\x00led \x1cfour\x1f \x85 next",
    "e\u0301 combining \u0301alone, \ufb01ligature, \u00e9\u00c9",
    "\u6771\u4eac \u0e44\u0e17\u0e22 \ud55c\uad6d\uc5b4 \U0001f600\u200d\U0001f525",
    "[CLS] in the [MASK] text[SEP]end",
    "x" * 101 + " " + "y" * 100,
    "",
)


def of_bert() -> tuple[Tokenizer, dict[str, Any]]:
    content = (base_folder(EMBEDDED) / "tokenizer.json").read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, json.loads(content)


def test_counting_by_words_is_exact_however_odd_the_text() -> None:
    tokenizer, settings = of_bert()
    assert _goes_by_words(settings)
    whole = [len(tokenizer.encode(text).ids) for text in ODD]
    assert list(_counts_by_words(tokenizer, ODD)) == whole
    assert _counts(tokenizer, list(ODD)) == whole


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("normalizer", {"type": "Prepend", "prepend": "_"}),
        ("normalizer", None),
        ("pre_tokenizer", {"type": "Metaspace"}),
        ("added_tokens", [{"content": "two words"}]),
    ],
)
def test_any_other_tokenizer_reads_texts_whole(part: str, kind: Any) -> None:
    _, settings = of_bert()
    assert not _goes_by_words({**settings, part: kind})


def test_by_words_a_tokenizer_that_looks_beyond_them_would_be_counted_wrong() -> None:
    tokenizer, _ = of_bert()
    tokenizer.add_special_tokens(["two words"])
    text = "two words"
    assert _counts(tokenizer, [text]) == [3]
    assert list(_counts_by_words(tokenizer, [text])) == [4]
