"""The reply to an embedding request: every way it can be wrong, told by batch and index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from embedsweep.core.ports import FloatArray
from embedsweep.core.trial import TrialFailure

KIND = "bad_embedding"
"""The kind of failure of a trial whose provider gives vectors that are worth no score."""


def vectors_of(reply: Mapping[str, Any], count: int, place: str, width: int | None) -> FloatArray:
    """The reply's vectors in the order of the texts, each of unit length.

    Args:
        reply: What the provider answered.
        count: How many texts it was given.
        place: The request's name in messages, such as ``batch 2``.
        width: The length each vector must have; None to take the first one's.

    Raises:
        TrialFailure: It does not hold one sound vector for each text.
    """
    rows = _in_order(reply.get("data"), count, place)
    arrays = [_numbers(row, f"{place}, index {index}") for index, row in enumerate(rows)]
    expected = width or len(arrays[0])
    for index, array in enumerate(arrays):
        if len(array) != expected:
            why = f"a vector of {len(array)} numbers, expected {expected}"
            raise TrialFailure(KIND, f"{place}, index {index}: {why}")
    # In double precision: a vector of huge or tiny numbers has a direction all the same.
    matrix = np.stack(arrays)
    lengths = np.linalg.norm(matrix, axis=1)
    for index, length in enumerate(lengths):
        if length == 0 or not np.isfinite(length):
            what = "a vector of zeros" if length == 0 else "a vector with NaN or infinity"
            raise TrialFailure(KIND, f"{place}, index {index}: {what}")
    unit: FloatArray = (matrix / lengths[:, None]).astype(np.float32)
    return unit


def tokens_billed(reply: Mapping[str, Any]) -> int | None:
    """The tokens the provider counted; None where it does not tell."""
    usage = reply.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = (usage.get(name) for name in ("total_tokens", "prompt_tokens"))
    return next((count for count in counts if type(count) is int and count > 0), None)


def _in_order(data: object, count: int, place: str) -> list[Any]:
    """The embeddings sorted by their index, each index from 0 up there once."""
    if not isinstance(data, list):
        raise TrialFailure(KIND, f"{place}: the reply holds no list of vectors")
    if len(data) != count:
        raise TrialFailure(KIND, f"{place}: {len(data)} vectors for {count} texts")
    rows: dict[int, Any] = {}
    for position, item in enumerate(data):
        index = item.get("index") if isinstance(item, Mapping) else None
        if type(index) is not int or not 0 <= index < count or index in rows:
            why = f"its index is {index!r:.40}, expected each of 0 to {count - 1} once"
            raise TrialFailure(KIND, f"{place}, item {position}: {why}")
        rows[index] = item.get("embedding")
    return [rows[index] for index in range(count)]


def _numbers(row: object, place: str) -> npt.NDArray[np.float64]:
    if not isinstance(row, list) or not row:
        raise TrialFailure(KIND, f"{place}: {row!r:.40} is no vector")
    if any(type(number) not in (int, float) for number in row):
        odd = next(number for number in row if type(number) not in (int, float))
        raise TrialFailure(KIND, f"{place}: the vector holds {odd!r:.40}, which is no number")
    try:
        return np.array(row, dtype=np.float64)
    except OverflowError:
        raise TrialFailure(KIND, f"{place}: the vector holds a number beyond all bounds") from None
