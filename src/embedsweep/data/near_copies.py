"""Finding texts that are nearly copies of each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from embedsweep.data.text import normalise

SHINGLE_WORDS = 5
SAME_FROM = 0.6
"""Texts whose shingle sets have at least this Jaccard index are near copies."""


def near_copies(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield every pair of positions (the lower first) whose texts are near copies.

    Exact, by prefix filtering (Chaudhuri, Ganti, Kaushik 2006): with the shingles of each set in
    one order, rarest first, two sets of Jaccard index t or more share one of the first
    n - ceil(t * n) + 1 shingles of either. Only texts that share such a one are compared.
    """
    sets = [shingles(text) for text in texts]
    frequency = Counter(shingle for found in sets for shingle in found)
    holders: dict[str, list[int]] = {}
    for right, found in enumerate(sets):
        ordered = sorted(found, key=lambda shingle: (frequency[shingle], shingle))
        prefix = ordered[: len(ordered) - math.ceil(SAME_FROM * len(ordered)) + 1]
        candidates = sorted({left for shingle in prefix for left in holders.get(shingle, ())})
        for left in candidates:
            if _jaccard(sets[left], found) >= SAME_FROM:
                yield left, right
        for shingle in prefix:
            holders.setdefault(shingle, []).append(right)


def shingles(text: str) -> frozenset[str]:
    """Every run of `SHINGLE_WORDS` normalised words; a shorter text is its own only shingle."""
    words = normalise(text).split()
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return frozenset(" ".join(words[first : first + SHINGLE_WORDS]) for first in range(last))


def _jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)
