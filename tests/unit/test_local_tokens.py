"""Token ids are made once, shared as a memory map, and never trusted when they are not whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from embedsweep.backends.local.tokens import IdArray, TextTokenizer, TokenStore

WORDS = ["[UNK]", "[S]", "[E]", "the", "rate", "of", "exchange"]
TEXTS = ["the rate", "", "the rate of exchange", "half a pair: \ud800", "the rate"]


class CountingTokenizer(TextTokenizer):
    """Counts the texts it is asked for."""

    asked = 0

    def numbers(self, texts: Sequence[str]) -> IdArray:
        self.asked += len(texts)
        return super().numbers(texts)


def plain() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel({word: place for place, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[S] $A [E]", special_tokens=[("[S]", 1), ("[E]", 2)]
    )
    return tokenizer


@pytest.fixture
def tokenizer() -> CountingTokenizer:
    return CountingTokenizer(plain(), None)


def test_ids_come_in_the_order_of_the_texts(tokenizer: CountingTokenizer) -> None:
    tokenized = TokenStore().tokenized(tokenizer, TEXTS[:3])
    assert [each.tolist() for each in tokenized] == [[1, 3, 4, 2], [1, 2], [1, 3, 4, 5, 6, 2]]
    assert tokenized.lengths.tolist() == [4, 2, 6]
    assert len(tokenized) == 3


def test_a_limit_keeps_the_special_tokens() -> None:
    tokenized = TokenStore().tokenized(TextTokenizer(plain(), 3), ["the rate of exchange"])
    assert tokenized[0].tolist() == [1, 3, 2]


def test_the_models_own_tokenizer_stays_as_it_is() -> None:
    tokenizer = plain()
    tokenizer.enable_padding(length=9)
    TextTokenizer(tokenizer, 3)
    assert tokenizer.truncation is None
    assert tokenizer.padding is not None


def test_texts_are_tokenized_once_and_mapped_by_all_who_ask(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    stores = [TokenStore(tmp_path), TokenStore(tmp_path)]
    first, again = (store.tokenized(tokenizer, TEXTS) for store in stores)
    assert tokenizer.asked == len(TEXTS)
    assert [each.tolist() for each in first] == [each.tolist() for each in again]
    assert isinstance(again[0].base, np.memmap) or isinstance(again[0], np.memmap)
    # Control: without a folder each asks anew.
    TokenStore().tokenized(tokenizer, TEXTS)
    assert tokenizer.asked == 2 * len(TEXTS)


def test_other_texts_limits_and_tokenizers_are_kept_apart(tmp_path: Path) -> None:
    other = plain()
    other.add_tokens(["exchange rate"])
    store = TokenStore(tmp_path)
    for tokenizer in (
        TextTokenizer(plain(), None),
        TextTokenizer(plain(), 3),
        TextTokenizer(other, None),
    ):
        store.tokenized(tokenizer, TEXTS)
    # The same letters, cut into texts elsewhere.
    for texts in (["therate"], ["the", "rate"], ["rate", "the"]):
        store.tokenized(TextTokenizer(plain(), None), texts)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_file_that_is_not_whole_is_made_anew(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    store = TokenStore(tmp_path)
    good = store.tokenized(tokenizer, TEXTS)
    (file,) = tmp_path.iterdir()
    for content in (b"", b"no numbers", file.read_bytes()[:-8]):
        file.write_bytes(content)
        again = store.tokenized(tokenizer, TEXTS)
        assert [each.tolist() for each in again] == [each.tolist() for each in good]
    assert tokenizer.asked == 4 * len(TEXTS)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    tokenized = TokenStore(blocked / "tokens").tokenized(tokenizer, TEXTS)
    assert len(tokenized) == len(TEXTS)


def test_the_files_read_longest_ago_go_first(tokenizer: CountingTokenizer, tmp_path: Path) -> None:
    texts = [[f"{number} the rate of exchange"] for number in range(4)]
    size = 0
    for some in texts:
        TokenStore(tmp_path).tokenized(tokenizer, some)
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 4
    store = TokenStore(tmp_path, largest=size // 2 + size // 8)
    store.tokenized(tokenizer, ["one more"])
    assert len(list(tmp_path.iterdir())) == 2
    asked = tokenizer.asked
    store.tokenized(tokenizer, ["one more"])
    assert tokenizer.asked == asked
