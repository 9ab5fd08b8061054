"""Micro-batches hold every text once, like lengths together, within their budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedsweep.backends.local.micro_batches import micro_batches

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(LENGTHS, st.integers(1, 200), st.none() | st.integers(1, 9), st.booleans())
def test_every_text_once_within_the_budget(
    lengths: list[int], budget: int, most: int | None, padded: bool
) -> None:
    batches = micro_batches(lengths, budget, most=most, padded=padded)
    places = [place for batch in batches for place in batch]
    assert sorted(places) == list(range(len(lengths)))
    assert [lengths[place] for place in places] == sorted(lengths)
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        tokens = longest * len(batch) if padded else sum(lengths[place] for place in batch)
        assert tokens <= budget or len(batch) == 1
        assert most is None or len(batch) <= most


def test_no_batch_ends_before_it_is_full() -> None:
    assert micro_batches([5, 5, 5, 5], 10) == [[0, 1], [2, 3]]
    assert micro_batches([2, 8, 8], 16, padded=True) == [[0, 1], [2]]
    assert micro_batches([2, 8, 6], 16) == [[0, 2, 1]]
    assert micro_batches([1, 1, 1], 16, most=2) == [[0, 1], [2]]
