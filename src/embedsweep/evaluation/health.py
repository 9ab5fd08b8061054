"""Vectors that are worth no measuring, refused before a score can hide them.

Measures alone do not show a broken model: with constant vectors all scores are equal, and an
evaluation that keeps the documents in their order then finds the first one relevant.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
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


def check_vectors(vectors: FloatArray, texts: Sequence[str]) -> None:
    """Refuse vectors that no measure should be taken of.

    Args:
        vectors: One unit row per text.
        texts: Distinct texts, in the order of the rows.

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

    distinct = _distinct(tuple(texts))
    if len(distinct) < 2:
        return
    cosine = _mean_cosine(vectors[_drawn_evenly(distinct)])
    if cosine >= COLLAPSED_COSINE:
        raise TrialFailure(
            "collapsed",
            f"the mean cosine between different texts is {cosine:.4f}, "
            f"expected below {COLLAPSED_COSINE}: the model maps all texts to one point",
        )
    shared = _shares_vector(vectors[distinct])
    if shared.mean() > INDISTINCT_SHARE:
        first = texts[distinct[int(shared.argmax())]]
        raise TrialFailure(
            "indistinct",
            f"{shared.sum()} of {len(distinct)} different texts have the vector of another, "
            f"expected at most {INDISTINCT_SHARE:.0%}; the first is {_shown(first)}",
        )


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


def _drawn_evenly(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    places = np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows)))
    drawn: npt.NDArray[np.int64] = rows[places.round().astype(int)]
    return drawn


def _mean_cosine(vectors: FloatArray) -> float:
    """Mean over all pairs of two different rows, by the square of the sum of the rows."""
    rows = vectors.astype(np.float64)
    total = rows.sum(axis=0)
    pairs = len(rows) * (len(rows) - 1)
    return float((total @ total - (rows * rows).sum()) / pairs)


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
