"""Micro-batches hold every text once, like lengths together, within their budget."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from embedsweep.backends.local.micro_batches import even_parts, micro_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 200))
def test_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = micro_batches(lengths, budget)
    places = [place for batch in batches for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    assert [lengths[place] for place in places] == sorted(lengths)
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


def test_no_batch_ends_before_it_is_full() -> None:
    assert micro_batches([5, 5, 5, 5], 10) == [[0, 1], [2, 3]]
    assert micro_batches([2, 8, 8], 16) == [[0, 1], [2]]


@given(LENGTHS, st.integers(1, 200), st.integers(1, 4), st.none() | st.integers(1, 9))
def test_every_text_once_in_parts_that_end_together(
    lengths: list[int], budget: int, lanes: int, most: int | None
) -> None:
    parts = even_parts(lengths, budget, lanes, most)
    places = [place for part in parts for place in part]
    assert sorted(places) == list(range(len(lengths)))
    assert [lengths[place] for place in places] == sorted(lengths)
    total = sum(lengths)
    count = lanes * max(1, math.ceil(total / (budget * lanes)))
    assert most is not None or len(parts) <= count
    assert max(map(len, parts)) <= (most or len(lengths))
    # A text that reaches over both ends belongs to one side or the other.
    assert all(
        sum(lengths[place] for place in part) <= total / count + max(lengths) for part in parts
    )


def test_two_lanes_take_half_each() -> None:
    assert even_parts([5, 5, 5, 5], 4096, 2) == [[0, 1], [2, 3]]
    assert even_parts([5, 5, 5, 5], 5, 2) == [[0], [1], [2], [3]]
    assert even_parts([7], 4096, 2) == [[0]]
    assert even_parts([5, 5, 5, 5, 5, 5], 4096, 2, 2) == [[0, 1], [2], [3, 4], [5]]
