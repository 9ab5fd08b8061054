"""Near-duplicates: nothing reported is wrong, and how much of what there is is found."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedsweep.data.near_duplicates import (
    ALIKE_FROM,
    BAND_VALUES,
    BANDS,
    CLOSEST,
    Signed,
    near_duplicates,
    recall_at,
    shingles,
)
from embedsweep.data.text import normalise

_LISTED = (
    "account address amount another balance bank before blocked buy cancel card cash change charge "
    "check city country currency day delivery different does euro exchange expire fee find get "
    "have help how identity left limit long lost machine make missing money month need never new "
    "number old online open order payment pending person phone pin please rate refund security "
    "send shop statement stolen support time today top transfer travel use verify wallet want week "
    "what when where why withdraw work wrong your"
)
WORDS = _LISTED.split()


def plain_shingles(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[i : i + 5] for i in range(max(1, len(padded) - 4))}


def plain_jaccard(left: str, right: str) -> float:
    one, other = plain_shingles(left.ljust(3)), plain_shingles(right.ljust(3))
    return len(one & other) / len(one | other)


def sentences(count: int, seed: int, low: int = 8, high: int = 12) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(WORDS, k=chance.randint(low, high))) for _ in range(count)]


def found(left: Sequence[str], right: Sequence[str]) -> dict[tuple[int, int], float]:
    pairs = near_duplicates(Signed.of(left), Signed.of(right))
    return {(here, there): similarity for here, there, similarity in pairs}


def altered(words: Sequence[str], share: float, chance: random.Random) -> str:
    """The words, about such a share of them another."""
    return " ".join(chance.choice(WORDS) if chance.random() < share else word for word in words)


@pytest.mark.parametrize(("low", "high"), [(3, 5), (8, 12), (60, 150)])
def test_what_is_found_is_exact_and_hardly_anything_is_missed(low, high):
    right = sentences(150, 1, low, high)
    chance = random.Random(2)
    left = [
        altered(text.split(), share, chance)
        for text in right
        for share in (0.05, 0.1, 0.15, 0.2, 0.25)
    ]
    expected = {
        (i, j): similarity
        for i in range(len(left))
        for j in (i // 5, chance.randrange(150))
        if (similarity := plain_jaccard(left[i], right[j])) >= ALIKE_FROM
    }
    pairs = found(left, right)
    assert all(plain_jaccard(left[i], right[j]) == pytest.approx(s) for (i, j), s in pairs.items())
    assert min(pairs.values()) >= ALIKE_FROM
    assert len(expected) > 150
    assert len(expected.keys() - pairs.keys()) <= 0.004 * len(expected)


def test_recall_is_what_the_bands_promise():
    assert recall_at(0.6) == pytest.approx(0.996, abs=0.0005)
    assert recall_at(0.7) > 0.9999
    assert recall_at(1.0) == 1.0
    assert recall_at(0.2) < 0.07
    # Fewer bands of more values, as is usual for long texts, would miss a third of the least alike.
    assert 1 - (1 - 0.6**8) ** (BANDS * BAND_VALUES // 8) < 0.3


def test_signatures_estimate_the_similarity():
    left, right = sentences(400, 3, 10, 40), []
    chance = random.Random(4)
    for place, text in enumerate(left):
        right.append(altered(text.split(), (place % 10) / 12, chance))
    ours, theirs = Signed.of(left).signatures, Signed.of(right).signatures
    estimates = (ours == theirs).mean(axis=1)
    true = np.array([plain_jaccard(a, b) for a, b in zip(left, right, strict=True)])
    errors = (estimates - true) / np.sqrt(np.maximum(true * (1 - true), 0.01) / ours.shape[1])
    assert abs(errors.mean()) < 4 / sqrt(len(left))
    assert 0.8 < errors.std() < 1.2
    assert np.abs(errors).max() < 5


LETTERS = st.text(st.sampled_from("abcdéf 字あ🙂"), min_size=1, max_size=60)
TEXTS = LETTERS.map(normalise).filter(bool)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, max_size=8), st.lists(TEXTS, max_size=8))
def test_any_texts(left, right):
    pairs = found(left, right)
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            similarity = plain_jaccard(one, other)
            if similarity < ALIKE_FROM:
                assert (i, j) not in pairs
            elif len(right) <= CLOSEST and similarity > 0.9:
                assert pairs[i, j] == pytest.approx(similarity)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_shingles_of_any_text(text):
    assert shingles(text) == plain_shingles(text.ljust(3))
    assert found([text], [text]) == {(0, 0): 1.0}


@pytest.mark.parametrize("text", ["ok", "a", "?", "去银行", "où est ma carte"])
def test_short_texts_and_texts_without_blanks(text):
    assert found([normalise(text)], ["another one", normalise(text)]) == {(0, 1): 1.0}


def test_none_on_either_side():
    assert found([], ["some text"]) == found(["some text"], []) == found([], []) == {}


def test_neither_order_nor_neighbours_matter():
    left, right = sentences(60, 5), sentences(60, 5)
    chance = random.Random(6)
    right = [altered(text.split(), 0.1, chance) for text in right]
    plain = {(left[i], right[j]): s for (i, j), s in found(left, right).items()}
    chance.shuffle(left)
    chance.shuffle(right)
    some = {(left[i], right[j]): s for (i, j), s in found(left, right[:30]).items()}
    assert plain
    assert some == {pair: s for pair, s in plain.items() if pair[1] in right[:30]}


def test_a_crowd_of_copies_is_told_of_by_its_closest():
    crowd = [f"please tell me when the order with this number arrives {n}" for n in range(3000)]
    pairs = found(crowd[:600], crowd[600:])
    assert {here for here, _ in pairs} == set(range(600))
    assert len(pairs) == 600 * CLOSEST


def test_another_process_signs_alike():
    texts = ["one text", "zwei", "三"]
    code = (
        "from embedsweep.data.near_duplicates import Signed;"
        f"print(Signed.of({texts!r}).signatures.tobytes().hex())"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout.strip() == Signed.of(texts).signatures.tobytes().hex(), done.stderr


def _other_word(words: list[str], chance: random.Random) -> list[str]:
    place = chance.randrange(len(words))
    return [*words[:place], chance.choice(WORDS), *words[place + 1 :]]


def _word_less(words: list[str], chance: random.Random) -> list[str]:
    place = chance.randrange(len(words))
    return [*words[:place], *words[place + 1 :]]


def _word_more(words: list[str], chance: random.Random) -> list[str]:
    place = chance.randrange(len(words) + 1)
    return [*words[:place], chance.choice(WORDS), *words[place:]]


def _neighbours_turned(words: list[str], chance: random.Random) -> list[str]:
    place = chance.randrange(len(words) - 1)
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _halves_turned(words: list[str], chance: random.Random) -> list[str]:
    half = len(words) // 2
    return [*words[half:], *words[:half]]


def _clause_more(words: list[str], chance: random.Random) -> list[str]:
    clause = chance.choice(["thanks in advance", "can you tell me", "as soon as possible"]).split()
    return [*clause, *words] if chance.random() < 0.5 else [*words, *clause]


def _letter_wrong(words: list[str], chance: random.Random) -> list[str]:
    place = chance.randrange(len(words))
    letter = chance.randrange(len(words[place]))
    word = words[place][:letter] + "x" + words[place][letter + 1 :]
    return [*words[:place], word, *words[place + 1 :]]


def _two_other_words(words: list[str], chance: random.Random) -> list[str]:
    return _other_word(_other_word(words, chance), chance)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (_letter_wrong, 0.99),
        (_halves_turned, 0.99),
        (_word_less, 0.95),
        (_word_more, 0.95),
        (_clause_more, 0.9),
        (_neighbours_turned, 0.85),
        (_other_word, 0.85),
        (_two_other_words, 0.25),
    ],
)
def test_planted_paraphrases_are_found(
    change: Callable[[list[str], random.Random], list[str]], least: float
):
    """300 of 3,000 queries of 8 to 12 words, lightly put in other words."""
    train = sentences(3000, 7)
    chance = random.Random(8)
    leaked = chance.sample(range(len(train)), 300)
    test = [" ".join(change(train[place].split(), chance)) for place in leaked]
    pairs = found(test, train)
    share = sum((here, place) in pairs for here, place in enumerate(leaked)) / len(leaked)
    assert share >= least
    # The control: as the same text but for case, blanks and punctuation hardly one is found.
    assert len({*test} & {*train}) < 0.05 * len(test)
