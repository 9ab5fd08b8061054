"""Finding texts of one split that are nearly texts of another, by MinHash.

Texts are sets of shingles: every run of five characters of the normalised text, blanks and a
blank at either end among them. Five is the length that Leskovec, Rajaraman and Ullman ("Mining of
Massive Datasets", 3.2.2) give for texts as short as e-mails. Runs of words will not do: to swap one
word of eight leaves three of six runs of three words, and the languages that write no blanks have
no words to count. Runs of four characters find a little more among short texts, but two unlike
texts of 5,000 words already share 0.39 of them, against 0.24 of those of five.

Candidates come from signatures in bands: two texts are compared if all values of some band are the
same. A pair of similarity s has the same MinHash value with probability s (Broder, "On the
resemblance and containment of documents", 1997), so it is compared with probability
1 - (1 - s^r)^b for b bands of r values (Leskovec et al., 3.4.2): see `recall_at`. The similarity of
what is compared is then counted exactly, so that no pair is found that is none.

`near_copies` finds them all, within one list; it is slower, and the built-in data set's split
hangs on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SHINGLE_CHARACTERS = 5
ALIKE_FROM = 0.6
"""Texts whose shingle sets have at least this Jaccard index are near-duplicates.

In a query of ten words one other word leaves about two thirds of the shingles.
"""
BANDS = 40
BAND_VALUES = 4
"""40 bands of 4 values: of the pairs that are just `ALIKE_FROM` alike 99.6 % are found."""
MOST_IN_BUCKET = 16
"""Candidates that one text takes from one bucket of one band."""
CROWD = 32
"""A text with so many candidates is looked for in no further band."""
CLOSEST = 5
"""Near-duplicates told of one text."""

_VALUES = BANDS * BAND_VALUES
_MARGIN = 0.2
"""Five standard errors of a similarity of 0.6 that is estimated from the signatures."""
_CHUNK_CHARACTERS = 1 << 17
_CHUNK_PAIRS = 1 << 13
_BLOCK = 1 << 11
_CACHED_SETS = 1 << 14

UInt32s = npt.NDArray[np.uint32]
UInt64s = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Signed:
    """Texts with their MinHash signatures.

    Attributes:
        texts: Normalised.
        signatures: One row of `BANDS` * `BAND_VALUES` values per text.
    """

    texts: Sequence[str]
    signatures: UInt32s

    @classmethod
    def of(cls, texts: Sequence[str]) -> Signed:
        """Sign normalised texts; the same text is signed the same in any process."""
        parts = [_signatures(chunk) for chunk in _chunks(texts)]
        return cls(texts, np.concatenate([np.empty((0, _VALUES), np.uint32), *parts]))


def recall_at(similarity: float) -> float:
    """The probability that a pair of this similarity is compared."""
    return float(1 - (1 - similarity**BAND_VALUES) ** BANDS)


def near_duplicates(left: Signed, right: Signed) -> Iterator[tuple[int, int, float]]:
    """Yield (position in left, position in right, Jaccard index), by left and closest first.

    Of each text of ``left`` the `CLOSEST` at most. Memory grows with the number of texts, by about
    a kilobyte each, and with the longest text.
    """
    if not right.texts:
        return
    buckets = _Buckets(right)
    for start in range(0, len(left.texts), _BLOCK):
        lefts, rights = _candidates(left.signatures[start : start + _BLOCK], right, buckets)
        distinct, firsts, counts = np.unique(lefts, return_index=True, return_counts=True)
        for place, first, count in zip(distinct, firsts, counts, strict=True):
            here = start + int(place)
            some = rights[first : first + min(count, 2 * CLOSEST)].tolist()
            for similarity, there in _closest(left.texts[here], some, right.texts):
                yield here, there, similarity


def _closest(text: str, others: Sequence[int], texts: Sequence[str]) -> list[tuple[float, int]]:
    """(Jaccard index, position) of the near-duplicates among the others."""
    mine = shingles(text)
    found = [(jaccard(mine, _cached_shingles(texts[there])), there) for there in others]
    found = [pair for pair in found if pair[0] >= ALIKE_FROM]
    return sorted(found, key=lambda pair: (-pair[0], pair[1]))[:CLOSEST]


def shingles(text: str) -> frozenset[str]:
    """The shingles of a normalised text; a shorter text is its own only shingle."""
    padded = _padded(text)
    shifted = (padded[first:] for first in range(SHINGLE_CHARACTERS))
    return frozenset(map("".join, zip(*shifted, strict=False)))


_cached_shingles = lru_cache(maxsize=_CACHED_SETS)(shingles)


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Size of the intersection over size of the union."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def _padded(text: str) -> str:
    return f" {text} ".ljust(SHINGLE_CHARACTERS)


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts, padded, in lists of about `_CHUNK_CHARACTERS`: they fit the processor's cache."""
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(_padded(text))
        size += len(chunk[-1])
        if size >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _signatures(padded: Sequence[str]) -> UInt32s:
    """Per text the least value of its shingles under each permutation."""
    hashes, starts = _shingle_hashes(padded)
    signatures = np.empty((_VALUES, len(padded)), dtype=np.uint32)
    permuted = np.empty_like(hashes)
    for place, (factor, shift) in enumerate(zip(*_permutations(), strict=True)):
        np.multiply(hashes, factor, out=permuted)
        np.add(permuted, shift, out=permuted)
        np.minimum.reduceat(permuted, starts, out=signatures[place])
    return np.ascontiguousarray(signatures.T)


def _shingle_hashes(padded: Sequence[str]) -> tuple[UInt32s, Int64s]:
    """Hashes of all shingles, text after text, and where each text's begin."""
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    # Other than a string's own hash, these are the same in every process.
    joined = "".join(padded).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(joined, dtype="<u4").astype(np.uint64)
    hashes = np.zeros(len(codes) - SHINGLE_CHARACTERS + 1, dtype=np.uint64)
    for place in range(SHINGLE_CHARACTERS):
        hashes *= np.uint64(0x100000001B3)
        hashes += codes[place : place + len(hashes)]
    whole = np.ones(len(codes), dtype=np.bool_)
    ends = np.cumsum(lengths)
    for place in range(1, SHINGLE_CHARACTERS):
        whole[ends - place] = False  # such a run goes on in the next text
    kept = _mixed(hashes[whole[: len(hashes)]])
    counts = lengths - SHINGLE_CHARACTERS + 1
    return (kept >> np.uint64(32)).astype(np.uint32), np.cumsum(counts) - counts


def _mixed(values: UInt64s) -> UInt64s:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that spreads bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _permutations() -> tuple[UInt32s, UInt32s]:
    """Factors, all odd, and shifts: x * factor + shift permutes the numbers of 32 bits."""
    drawn = _mixed(np.arange(1, 2 * _VALUES + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    upper = (drawn >> np.uint64(32)).astype(np.uint32)
    return upper[:_VALUES] | np.uint32(1), upper[_VALUES:]


class _Buckets:
    """The texts of a split, findable by the values of each band."""

    def __init__(self, signed: Signed) -> None:
        self._keys, self._order = [], []
        for band in range(BANDS):
            keys = _band_keys(signed.signatures, band)
            order = np.argsort(keys)
            self._keys.append(keys[order])
            self._order.append(order.astype(np.int32))

    def pairs(self, signatures: UInt32s, band: int) -> tuple[Int64s, Int64s]:
        """(position in the signatures, position in the split) of those that share a bucket."""
        wanted, keys = _band_keys(signatures, band), self._keys[band]
        first = np.searchsorted(keys, wanted, side="left")
        size = np.searchsorted(keys, wanted, side="right") - first
        taken = np.minimum(size, MOST_IN_BUCKET)
        lefts = np.repeat(np.arange(len(wanted)), taken)
        turns = np.arange(len(lefts)) - np.repeat(np.cumsum(taken) - taken, taken)
        # Of a larger bucket each band takes another part.
        places = (turns + band * MOST_IN_BUCKET) % size[lefts]
        return lefts, self._order[band][first[lefts] + places].astype(np.int64)


def _candidates(signatures: UInt32s, right: Signed, buckets: _Buckets) -> tuple[Int64s, Int64s]:
    """Pairs to compare, by left and the likeliest first."""
    found = np.empty(0, dtype=np.int64)
    count = len(right.texts)
    for band in range(BANDS):
        crowded = np.bincount(found // count, minlength=len(signatures)) >= CROWD
        wanting = np.flatnonzero(~crowded)
        lefts, rights = buckets.pairs(signatures[wanting], band)
        lefts = wanting[lefts]
        likely = _agreement(signatures, right, lefts, rights) >= ALIKE_FROM - _MARGIN
        found = np.unique(np.concatenate([found, lefts[likely] * count + rights[likely]]))
    lefts, rights = np.divmod(found, count)
    order = np.lexsort((rights, -_agreement(signatures, right, lefts, rights), lefts))
    return lefts[order], rights[order]


def _band_keys(signatures: UInt32s, band: int) -> UInt64s:
    """One number for the values of a band; equal values have equal numbers."""
    keys = np.zeros(len(signatures), dtype=np.uint64)
    for place in range(band * BAND_VALUES, (band + 1) * BAND_VALUES):
        keys = _mixed(keys + signatures[:, place])
    return keys


def _agreement(
    signatures: UInt32s, right: Signed, lefts: Int64s, rights: Int64s
) -> npt.NDArray[np.float64]:
    """The similarity of pairs as their signatures let it be estimated."""
    shares = np.empty(len(lefts), dtype=np.float64)
    for start in range(0, len(lefts), _CHUNK_PAIRS):
        part = slice(start, start + _CHUNK_PAIRS)
        same = signatures[lefts[part]] == right.signatures[rights[part]]
        shares[part] = same.mean(axis=1)
    return shares
