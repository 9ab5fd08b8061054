"""Groups of texts that go through a model together, as many as memory allows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.token_budget import (
    BYTES_PER_WIDTH,
    FEWEST_TOKENS,
    MEMORY_SHARE,
    MICRO_BATCH_TOKENS,
    alike_groups,
    forward_in_groups,
    tokens_that_fit,
)

GIB = 2**30


def model(**config: int) -> SentenceTransformer:
    network = SimpleNamespace(config=SimpleNamespace(**config))
    return cast(SentenceTransformer, SimpleNamespace(transformers_model=network))


LARGE = {"hidden_size": 1024, "num_hidden_layers": 24}


def test_a_gpu_takes_what_its_free_memory_holds() -> None:
    tokens = [tokens_that_fit(model(**LARGE), torch.bfloat16, n * GIB) for n in (8, 16, 32, 500)]
    assert tokens == sorted(tokens)
    assert tokens[0] < tokens[1] < tokens[2]
    assert tokens[-1] == MICRO_BATCH_TOKENS["cuda"]
    for free, count in zip((8, 16, 32), tokens, strict=False):
        need = count * BYTES_PER_WIDTH * 1024 * 24
        # A power of two: at least half of what fits.
        assert MEMORY_SHARE / 2 < need / (free * GIB) <= MEMORY_SHARE
        assert count.bit_count() == 1


def test_float32_needs_twice_the_memory() -> None:
    low, exact = (
        tokens_that_fit(model(**LARGE), each, 16 * GIB) for each in (torch.bfloat16, torch.float32)
    )
    assert low == 2 * exact


def test_a_little_more_memory_changes_nothing() -> None:
    assert tokens_that_fit(model(**LARGE), torch.bfloat16, 16 * GIB) == tokens_that_fit(
        model(**LARGE), torch.bfloat16, 16 * GIB + 2**24
    )


@pytest.mark.parametrize("free", [0, 1, 2**20])
def test_no_memory_at_all_still_tries_a_few(free: int) -> None:
    assert tokens_that_fit(model(**LARGE), torch.bfloat16, free) == FEWEST_TOKENS


def test_a_model_that_does_not_say_its_size_takes_the_most() -> None:
    nothing = cast(SentenceTransformer, SimpleNamespace(transformers_model=None))
    for unknown in (nothing, model(), model(hidden_size=8)):
        assert tokens_that_fit(unknown, torch.float32, GIB) == MICRO_BATCH_TOKENS["cuda"]


def test_groups_hold_each_text_once_and_no_more_than_told() -> None:
    lengths = [3, 9, 1, 4, 4, 12, 2]
    groups = alike_groups(lengths, 12, 2)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    assert max(map(len, groups)) == 2
    assert alike_groups([], 12) == []


class Memory:
    """Forwards padded tokens up to its room, and remembers which groups it was asked for."""

    def __init__(self, lengths: list[int], room: int) -> None:
        self.lengths, self.room = lengths, room
        self.asked: list[int] = []
        self.forwarded: list[int] = []

    def forward(self, places: list[int]) -> None:
        tokens = len(places) * max(self.lengths[place] for place in places)
        self.asked.append(tokens)
        if tokens > self.room:
            raise torch.OutOfMemoryError("no room")
        self.forwarded += places


def test_running_out_of_memory_halves_the_groups_and_goes_on() -> None:
    lengths = [5] * 40
    memory = Memory(lengths, 60)
    forward_in_groups(lengths, 200, memory.forward)
    assert sorted(memory.forwarded) == list(range(40))
    # 200 does not go, nor does half of it; all that follow know that.
    assert memory.asked == [200, 100, 50, 50, 50, 50]


def test_with_room_nothing_is_asked_for_twice() -> None:
    lengths = [5] * 40
    memory = Memory(lengths, 1000)
    forward_in_groups(lengths, 100, memory.forward)
    assert memory.asked == [100, 100]
    forward_in_groups([], 100, memory.forward)
    assert memory.asked == [100, 100]


def test_a_text_that_does_not_fit_alone_is_an_error() -> None:
    memory = Memory([5, 90], 60)
    with pytest.raises(torch.OutOfMemoryError):
        forward_in_groups(memory.lengths, 200, memory.forward)
    assert memory.forwarded == [0]
