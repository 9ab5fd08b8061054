"""A record that only grows shows whatever else is done to it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from embedsweep.core.chain import follow, head_of, link
from embedsweep.core.errors import DataError

CONTENTS = [{"entry": number} for number in range(4)]


def record() -> list[str]:
    texts: list[str] = []
    for content in CONTENTS:
        texts.append(link(content, head_of(texts[-1]) if texts else ""))
    return texts


def edited(text: str) -> str:
    values = json.loads(text)
    values["content"]["entry"] = 9
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def test_a_record_is_followed_from_its_first_entry() -> None:
    texts = record()
    assert follow(texts, head_of(texts[-1]), "here") == CONTENTS
    assert follow([], "", "here") == []


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    "tamper",
    [
        lambda texts, place: texts.__setitem__(place, edited(texts[place])),
        lambda texts, place: texts.pop(place),
        lambda texts, place: texts.insert(place, texts[place]),
        lambda texts, place: texts.insert(place, link({"entry": 7}, "")),
        lambda texts, place: texts.__setitem__(place, "no JSON"),
        lambda texts, place: texts.__setitem__(place, "[]"),
    ],
)
def test_a_change_anywhere_shows(tamper: Callable[[list[str], int], None], place: int) -> None:
    texts = record()
    head = head_of(texts[-1])
    tamper(texts, place)
    with pytest.raises(DataError, match="the record of looks and decisions"):
        follow(texts, head, "here")


def test_a_record_cut_short_shows_though_its_entries_follow() -> None:
    texts = record()
    with pytest.raises(DataError, match="do not end where its head says"):
        follow(texts[:2], head_of(texts[-1]), "here")
    with pytest.raises(DataError, match="do not end where its head says"):
        follow([], head_of(texts[-1]), "here")


def test_an_entry_whose_writer_died_before_the_head_moved_counts() -> None:
    texts = record()
    assert follow(texts, head_of(texts[-2]), "here") == CONTENTS
    assert follow(texts[:1], "", "here") == CONTENTS[:1]
