"""Vectors that are worth no measuring, refused before a score can hide them.

Measures alone do not show a broken model: with constant vectors all scores are equal, and an
evaluation that keeps the documents in their order then finds the first one relevant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from embedsweep.core.ports import FloatArray
from embedsweep.core.trial import TrialFailure

NO_LETTER = re.compile(r"[\W_]+")

COLLAPSED_COSINE = 0.99
SAMPLE = 200
"""Texts drawn, evenly over all, to see whether the vectors have collapsed."""

INDISTINCT_SHARE = 0.01
"""Share of the texts that may have the vector of another text.

Sound tokenizers do map a few distinct texts to the same tokens: they drop case, accents and
blanks, know one token for all that is not in the vocabulary, and cut long texts short. A broken
model maps most texts to the vectors of others.
"""

SAME_VECTOR = 1e-5
"""Distance below which two unit vectors are one: batching alone moves a float32 vector by 1e-6."""

COMPARED_AT_A_TIME = 4096


SAME_TOKENS = 0.8
"""Share of two texts' tokens from which they are too similar to show a collapse.

Behind a long shared header, a working model too gives almost the same vector to all texts.
"""

TokenIds = Sequence[tuple[int, ...]]
ReadTokens = Callable[[Sequence[str]], TokenIds | None]


def check_vectors(
    vectors: FloatArray, texts: Sequence[str], read_tokens: ReadTokens | None = None
) -> None:
    """Reject vectors that no metric should be computed from.

    Texts that the model reads as the same tokens, or as mostly the same, show nothing about the
    model: that is a property of the data, and such pairs are not compared.

    Args:
        vectors: One unit row per text.
        texts: Distinct texts, in the order of the rows.
        read_tokens: Returns the tokens that the model reads of each text, after truncation, or
            `None` if they are unknown. Called only if texts seem to be the same.

    Raises:
        TrialFailure: ``non_finite_vectors``, ``zero_vectors``, ``collapsed`` (the mean cosine
            between distinct texts is at least 0.99) or ``indistinct`` (more than 1 % of the
            distinct texts, and at least two, have the vector of another).
    """
    squares = np.einsum("ij,ij->i", vectors, vectors)
    if not np.isfinite(squares).all():
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        _refuse("non_finite_vectors", "vectors are not finite", broken, texts)
    # Rows are of unit length or zero, so that anything between tells them apart.
    broken = np.flatnonzero(squares < 0.25)
    if len(broken):
        _refuse("zero_vectors", "vectors have length zero", broken, texts)

    rows = _distinct(tuple(texts))
    failure = _sameness(vectors, texts, rows)
    ids = read_tokens([texts[row] for row in rows]) if failure and read_tokens else None
    if ids is not None:
        first = {tokens: place for place, tokens in reversed([*enumerate(ids)])}
        places = np.array(sorted(first.values()), dtype=np.int64)
        failure = _sameness(vectors, texts, rows[places], [ids[place] for place in places])
    if failure is not None:
        raise failure


def _sameness(
    vectors: FloatArray,
    texts: Sequence[str],
    rows: npt.NDArray[np.int64],
    ids: TokenIds | None = None,
) -> TrialFailure | None:
    """Return the failure of a model that cannot distinguish the texts of these rows, if any.

    Args:
        vectors: One unit row per text.
        texts: In the order of the rows.
        rows: Rows of texts that differ.
        ids: Tokens of each of these texts, or `None` if they are unknown.
    """
    if len(rows) < 2:
        return None
    drawn = _drawn_evenly(len(rows))
    sample = vectors[rows[drawn]]
    cosine = (
        _mean_cosine(sample)
        if ids is None
        else _mean_cosine_of_unlike(sample, [ids[place] for place in drawn])
    )
    if cosine is not None and cosine >= COLLAPSED_COSINE:
        return TrialFailure(
            "collapsed",
            f"the mean cosine between different texts is {cosine:.4f}, "
            f"expected below {COLLAPSED_COSINE}: the model maps all texts to one point",
        )
    shared = _shares_vector(vectors[rows])
    if shared.mean() > INDISTINCT_SHARE:
        first = texts[rows[int(shared.argmax())]]
        return TrialFailure(
            "indistinct",
            f"{shared.sum()} of {len(rows)} different texts have the vector of another, "
            f"expected at most {INDISTINCT_SHARE:.0%}; the first is {_shown(first)}",
        )
    return None


def _refuse(kind: str, problem: str, broken: npt.NDArray[np.int64], texts: Sequence[str]) -> None:
    first = _shown(texts[broken[0]])
    raise TrialFailure(kind, f"{len(broken)} of {len(texts)} {problem}; the first is of {first}")


def _shown(text: str, length: int = 60) -> str:
    return repr(text if len(text) <= length else text[:length] + "…")


@lru_cache(maxsize=2)
def _distinct(texts: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """The first of every set of texts that differ in more than case, accents, blanks and marks.

    To tell takes longer than to rank the texts, and every epoch asks of the same ones: those of
    the last queries and documents are remembered.
    """
    first: dict[str, int] = {}
    for row, text in enumerate(texts):
        letters = NO_LETTER.sub("", unicodedata.normalize("NFKD", text).casefold())
        first.setdefault(letters, row)
    return np.array([*first.values()], dtype=np.int64)


def _drawn_evenly(count: int) -> npt.NDArray[np.int64]:
    return np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(np.int64)


def _mean_cosine(vectors: FloatArray) -> float:
    """Mean over all pairs of two different rows, by the square of the sum of the rows."""
    rows = vectors.astype(np.float64)
    total = rows.sum(axis=0)
    pairs = len(rows) * (len(rows) - 1)
    return float((total @ total - (rows * rows).sum()) / pairs)


def _mean_cosine_of_unlike(vectors: FloatArray, ids: TokenIds) -> float | None:
    """Return the mean cosine over pairs with fewer common tokens; `None` if no such pair exists."""
    lengths = np.array([len(tokens) for tokens in ids])
    known: dict[int, int] = {}
    for tokens in ids:
        for token in tokens:
            known.setdefault(token, len(known))
    counts = np.zeros((len(ids), len(known)), dtype=np.int32)
    for row, tokens in enumerate(ids):
        np.add.at(counts[row], [known[token] for token in tokens], 1)
    cosines: list[npt.NDArray[np.float64]] = []
    for row in range(len(ids) - 1):
        common = np.minimum(counts[row], counts[row + 1 :]).sum(axis=1)
        longest = np.maximum(lengths[row], lengths[row + 1 :])
        unlike = np.flatnonzero(common < SAME_TOKENS * longest) + row + 1
        cosines.append(vectors[unlike].astype(np.float64) @ vectors[row].astype(np.float64))
    every = np.concatenate(cosines)
    return float(every.mean()) if len(every) else None


def _shares_vector(vectors: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows are within `SAME_VECTOR` of another row.

    Equal rows have equal projections on any direction, so they are neighbours when the rows are
    sorted by their projection on one drawn at random, and only neighbours need comparing.
    """
    direction = np.random.default_rng(0).standard_normal((vectors.shape[1],))
    direction = direction / np.linalg.norm(direction)
    projections = vectors @ direction
    order = projections.argsort()
    near = np.flatnonzero(np.diff(projections[order]) <= SAME_VECTOR)
    same = np.zeros(len(vectors), dtype=np.bool_)
    for start in range(0, len(near), COMPARED_AT_A_TIME):
        some = near[start : start + COMPARED_AT_A_TIME]
        left, right = order[some], order[some + 1]
        equal = np.linalg.norm(vectors[left] - vectors[right], axis=1) <= SAME_VECTOR
        same[left[equal]] = same[right[equal]] = True
    return same
