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

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.tokens import IdArray, TextTokenizer, tokenized

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
    ids = tokenized(tokenizer, TEXTS[:3], ArrayStore())
    assert [each.tolist() for each in ids] == [[1, 3, 4, 2], [1, 2], [1, 3, 4, 5, 6, 2]]
    assert ids.lengths.tolist() == [4, 2, 6]
    assert len(ids) == 3


def test_a_limit_keeps_the_special_tokens() -> None:
    ids = tokenized(TextTokenizer(plain(), 3), ["the rate of exchange"], ArrayStore())
    assert ids[0].tolist() == [1, 3, 2]


def test_the_models_own_tokenizer_stays_as_it_is() -> None:
    tokenizer = plain()
    tokenizer.enable_padding(length=9)
    TextTokenizer(tokenizer, 3)
    assert tokenizer.truncation is None
    assert tokenizer.padding is not None


def test_texts_are_tokenized_once_and_mapped_by_all_who_ask(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    stores = [ArrayStore(tmp_path), ArrayStore(tmp_path)]
    first, again = (tokenized(tokenizer, TEXTS, store) for store in stores)
    assert tokenizer.asked == len(TEXTS)
    assert [each.tolist() for each in first] == [each.tolist() for each in again]
    assert isinstance(again[0].base, np.memmap) or isinstance(again[0], np.memmap)
    # Control: without a folder each asks anew.
    tokenized(tokenizer, TEXTS, ArrayStore())
    assert tokenizer.asked == 2 * len(TEXTS)


def test_other_texts_limits_and_tokenizers_are_kept_apart(tmp_path: Path) -> None:
    other = plain()
    other.add_tokens(["exchange rate"])
    store = ArrayStore(tmp_path)
    for tokenizer in (
        TextTokenizer(plain(), None),
        TextTokenizer(plain(), 3),
        TextTokenizer(other, None),
    ):
        tokenized(tokenizer, TEXTS, store)
    # The same letters, cut into texts elsewhere.
    for texts in (["therate"], ["the", "rate"], ["rate", "the"]):
        tokenized(TextTokenizer(plain(), None), texts, store)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_file_that_is_not_whole_is_made_anew(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    store = ArrayStore(tmp_path)
    good = tokenized(tokenizer, TEXTS, store)
    (file,) = tmp_path.iterdir()
    for content in (b"", b"no numbers", file.read_bytes()[:-8]):
        # Another file of the name: the one that is mapped must stay whole.
        file.unlink()
        file.write_bytes(content)
        again = tokenized(tokenizer, TEXTS, store)
        assert [each.tolist() for each in again] == [each.tolist() for each in good]
    assert tokenizer.asked == 4 * len(TEXTS)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(
    tokenizer: CountingTokenizer, tmp_path: Path
) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    ids = tokenized(tokenizer, TEXTS, ArrayStore(blocked / "arrays"))
    assert len(ids) == len(TEXTS)


def test_the_files_read_longest_ago_go_first(tokenizer: CountingTokenizer, tmp_path: Path) -> None:
    texts = [[f"{number} the rate of exchange"] for number in range(4)]
    size = 0
    for some in texts:
        tokenized(tokenizer, some, ArrayStore(tmp_path))
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 4
    store = ArrayStore(tmp_path, largest=size // 2 + size // 8)
    tokenized(tokenizer, ["one more"], store)
    assert len(list(tmp_path.iterdir())) == 2
    asked = tokenizer.asked
    tokenized(tokenizer, ["one more"], store)
    assert tokenizer.asked == asked
