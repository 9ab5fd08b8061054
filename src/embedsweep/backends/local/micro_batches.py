"""Which texts are forwarded together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of the texts, those of like length together, the shortest first.

    Args:
        lengths: Tokens of each text.
        budget: Tokens of a micro-batch, which holds at least one text; every text counts as long
            as the longest beside it.
    """
    batches: list[list[int]] = [[]]
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        length, count = int(lengths[place]), len(batches[-1])
        if count and length * (count + 1) > budget:
            batches.append([])
        batches[-1].append(place)
    return batches


def even_parts(
    lengths: Sequence[int], budget: int, lanes: int, most: int | None = None
) -> list[list[int]]:
    """Places of the texts, those of like length together, the shortest first.

    As many micro-batches as a multiple of the lanes, of about the same number of tokens, so that
    all lanes end together; fewer where there are fewer texts, more where texts are limited.

    Args:
        lengths: Tokens of each text.
        budget: Tokens of a micro-batch, about.
        lanes: How many micro-batches are forwarded at a time.
        most: Texts of a micro-batch; None for any number.
    """
    order = np.argsort(lengths, kind="stable")
    ends = np.cumsum(np.asarray(lengths)[order])
    count = lanes * max(1, -(-int(ends[-1]) // (budget * lanes)))
    # A text belongs to the part that its middle lies in.
    middles = ends - np.asarray(lengths)[order] / 2
    parts = (middles * count / ends[-1]).astype(np.int64)
    batches = (order[parts == part].tolist() for part in np.unique(parts))
    step = most or len(order)
    return [batch[at : at + step] for batch in batches for at in range(0, len(batch), step)]
