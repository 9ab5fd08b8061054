"""What a tokenizer leaves of texts: truncated ones, and ones that become the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Tokenizer

from embedsweep.backends.local.base_models import EMBEDDED, base_folder
from embedsweep.backends.truncation import (
    _goes_by_words,
    _sizes,
    _sizes_by_words,
    _unknown_id,
    read_texts,
)
from embedsweep.core.coverage import Coverage


def content_of(base: str = EMBEDDED) -> str:
    return (base_folder(base) / "tokenizer.json").read_text(encoding="utf-8")


def coverage(texts: list[str], limit: int | None = 256) -> Coverage:
    return read_texts(content_of(), limit, texts)[0]


def test_distinct_texts_beyond_the_limit_are_counted() -> None:
    at_the_limit = "word " * 254  # and one token each for begin and end
    beyond = "word " * 255
    assert coverage([at_the_limit]) == Coverage(1, 256)
    found = coverage([beyond, beyond, at_the_limit, "a", "b"])
    assert found == Coverage(4, 256, truncated=1)
    assert found.truncated_share == 0.25
    assert coverage([]) == Coverage(0, 256)
    assert coverage([beyond], None) == Coverage(1, None)


def test_texts_that_become_the_same_are_counted_by_the_reason() -> None:
    header = "word " * 300
    texts = [header + "refund", header + "invoice", "refund", "Refund", "invoice"]
    emoji = ["\U0001f600", "\U0001f680", "\u1234", "pay \U0001f600"]
    found = coverage([*texts, *emoji])
    assert found == Coverage(9, 256, truncated=2, alike_truncated=2, alike_unknown=3)
    first, second, third = found.notes("tiny")
    assert first.startswith("22.2% of the texts are longer than the 256 tokens that tiny reads")
    assert second.startswith("2 of 9 texts are the same as another text to tiny")
    assert "after the first 256 tokens" in second
    assert third.startswith("3 of 9 texts are the same as another text to tiny")
    assert "emoji" in third


def test_control_a_longer_limit_and_a_larger_vocabulary_tell_them_apart() -> None:
    header = "word " * 300
    texts = [header + "refund", header + "invoice"]
    assert coverage(texts, 512) == Coverage(2, 512)
    assert list(coverage([*texts, "pay", "paid"], 512).notes("tiny")) == []


def test_the_longest_texts_and_the_rarest_token_are_tried() -> None:
    rare = "\uff5e"  # the last token of the vocabulary
    texts = ["word " * count for count in range(1, 9)] + [rare]
    _, tried = read_texts(content_of(), 256, texts)
    assert set(tried) == {"word " * 8, "word " * 7, "word " * 6, "word ", rare} or rare in tried
    assert list(tried[:3]) == ["word " * 8, "word " * 7, "word " * 6]


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
    content = content_of()
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, json.loads(content)


def test_counting_by_words_is_exact_however_odd_the_text() -> None:
    tokenizer, settings = of_bert()
    assert _goes_by_words(settings)
    unknown = _unknown_id(tokenizer)
    assert unknown == tokenizer.token_to_id("[UNK]")
    whole = [tokenizer.encode(text).ids for text in ODD]
    sizes = _sizes_by_words(tokenizer, ODD, unknown)
    assert [size.tokens for size in _sizes(tokenizer, ODD, unknown)] == [len(ids) for ids in whole]
    assert [size.tokens for size in sizes] == [len(ids) for ids in whole]
    # Special tokens are in every text.
    end = tokenizer.token_to_id("[SEP]")
    assert [max(size.largest, end) for size in sizes] == [max(ids) for ids in whole]
    assert [size.unknown for size in sizes] == [unknown in ids for ids in whole]


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
    assert [size.tokens for size in _sizes(tokenizer, ["two words"], None)] == [3]
    assert [size.tokens for size in _sizes_by_words(tokenizer, ["two words"], None)] == [4]
