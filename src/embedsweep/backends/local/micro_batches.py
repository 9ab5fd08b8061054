"""Which texts are forwarded together."""

from __future__ import annotations

from collections.abc import Sequence


def micro_batches(
    lengths: Sequence[int], budget: int, *, most: int | None = None, padded: bool = False
) -> list[list[int]]:
    """Places of the texts, those of like length together, the shortest first.

    Args:
        lengths: Tokens of each text.
        budget: Tokens of a micro-batch, which holds at least one text.
        most: Texts of a micro-batch; None for any number.
        padded: Whether every text counts as long as the longest beside it.
    """
    batches: list[list[int]] = [[]]
    tokens = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length, count = int(lengths[place]), len(batches[-1])
        tokens = length * (count + 1) if padded else tokens + length
        if count and (tokens > budget or count == most):
            batches.append([])
            tokens = length
        batches[-1].append(place)
    return batches
