"""Counting and sorting find the same levels, and the highest scores of rows, ties and all."""

from __future__ import annotations

import numpy as np
import pytest

from embedsweep.core.dataset import RetrievalTask
from embedsweep.evaluation.ranking import (
    COUNTED_COLUMNS,
    TIE,
    TOP,
    Judged,
    _counted,
    _highest,
    rank,
    rank_row,
)

MANY = 3_000
"""Columns: enough to count for a few relevant documents, and to sort for many."""


def a_row(kind, columns=MANY, seed=0):
    generator = np.random.default_rng(seed)
    row = generator.random(columns, dtype=np.float32)
    if kind == "ties":
        row = (row * 40).round() / 40
    if kind == "near ties":
        row = (0.25 + generator.integers(0, 400, columns) * 1e-7).astype(np.float32)
    if kind == "constant":
        row[:] = 0.5
    return row


def by_sorting_all(row, relevant, left_out=None):
    """Documents before and in each level, one relevant document after the other."""
    tolerance = TIE * max(1.0, float(np.abs(row).max()))
    kept = np.delete(row, left_out) if left_out is not None else row
    spans = sorted(
        (np.float32(float(row[column]) - tolerance), np.float32(float(row[column]) + tolerance))
        for column in relevant
    )
    levels = [list(spans[0])]
    for low, high in spans[1:]:
        if low <= levels[-1][1]:
            levels[-1][1] = high
        else:
            levels.append([low, high])
    falling = [
        (int((kept > high).sum()), int(((kept >= low) & (kept <= high)).sum()))
        for low, high in levels
    ]
    return falling[::-1]


@pytest.mark.parametrize("left_out", [None, 17])
@pytest.mark.parametrize("relevant", [1, 3, 200], ids=["one", "a few", "many"])
@pytest.mark.parametrize("kind", ["random", "ties", "near ties", "constant"])
def test_levels_are_those_of_counting_by_hand(kind, relevant, left_out):
    for seed in range(5):
        row = a_row(kind, seed=seed)
        columns = np.random.default_rng(seed + 50).permutation(np.arange(20, MANY))[:relevant]
        expected = by_sorting_all(row, columns, left_out)
        ranked = rank_row(row.copy(), dict.fromkeys(columns.tolist(), 1), left_out)
        assert list(zip(ranked.above.tolist(), ranked.size.tolist(), strict=True)) == expected
        top = np.sort(np.delete(row, left_out) if left_out is not None else row)[-TOP - 1 :]
        assert ranked.tied == bool((np.diff(top) <= TIE).any())


def test_control_counts_without_the_tolerance_differ():
    row = a_row("near ties")
    column = int(row.argsort()[MANY // 2])
    [(above, size)] = by_sorting_all(row, [column])
    assert size > 1
    assert above != int((row > row[column]).sum())


@pytest.mark.parametrize("columns", [100, COUNTED_COLUMNS - 1, COUNTED_COLUMNS, 1_000, MANY])
def test_both_ways_count_alike(columns):
    """One threshold a row is counted where there are columns enough, a hundred are sorted for."""
    scores = np.stack([a_row("ties", columns, seed) for seed in range(6)])
    few, many = np.arange(7), np.arange(7) * 100
    thresholds = np.random.default_rng(1).random((600, 2), dtype=np.float32)
    every, top = _counted(scores.copy(), many, thresholds)
    some, same_top = _counted(scores.copy(), few, thresholds[::100])
    assert np.array_equal(every[::100], some)
    assert np.array_equal(top, same_top)
    expected = [(scores[place // 100] >= thresholds[place, 1]).sum() for place in range(600)]
    assert every[:, 1].tolist() == expected


@pytest.mark.parametrize("kind", ["random", "ties", "constant"])
@pytest.mark.parametrize("columns", [256, 257, 1_000, 4_097])
def test_the_highest_scores_are_found_wherever_they_stand(columns, kind):
    scores = np.stack([a_row(kind, columns, seed) for seed in range(20)])
    expected = np.sort(scores, axis=1)[:, -TOP - 1 :]
    assert np.array_equal(_highest(scores, TOP + 1), expected)
    # All of them side by side, at the end that does not fill a part, and falling.
    for arranged in (np.sort(scores, axis=1), np.sort(scores, axis=1)[:, ::-1]):
        assert np.array_equal(_highest(np.ascontiguousarray(arranged), TOP + 1), expected)


def test_control_the_maxima_of_parts_alone_are_not_the_highest():
    scores = np.zeros((1, 1_000), np.float32)
    parts = 104
    scores[0, ::parts] = np.arange(10, 20)  # ten of them dealt to one part
    maxima = np.sort(scores[:, :936].reshape(1, -1, parts).max(axis=1), axis=1)[:, -2:]
    assert maxima.tolist() == [[0.0, 18.0]]
    assert _highest(scores, 2).tolist() == [[18.0, 19.0]]


def test_places_known_beforehand_give_what_the_task_gives():
    ids = [f"t{number}" for number in range(300)]
    judgements = {
        each: {other: 1 + (place % 2) for place, other in enumerate(ids) if place % 9 == n % 9}
        for n, each in enumerate(ids)
    }
    task = RetrievalTask(dict.fromkeys(ids, ""), dict.fromkeys(ids, ""), judgements, True)
    vectors = np.random.default_rng(2).standard_normal((300, 8)).astype(np.float32)

    def rows(start, stop):
        return vectors[start:stop] @ vectors.T

    whole = dict(rank(task, rows))
    for block_bytes in (1, 7 * 300 * 4, 2**20):
        parts = dict(rank(Judged.of(task), rows, block_bytes))
        assert list(parts) == ids
        for query, found in parts.items():
            assert found.above.tolist() == whole[query].above.tolist()
            assert found.gains.tolist() == whole[query].gains.tolist()
            assert found.grades.tolist() == sorted(found.grades.tolist(), reverse=True)
            assert found.documents == 299


def test_a_query_without_a_relevant_document_has_no_level():
    task = RetrievalTask({"a": "", "b": ""}, {"x": "", "y": ""}, {"a": {"x": 0}, "b": {"y": 1}})
    ranked = dict(rank(task, lambda start, stop: np.array([[1, 0], [1, 0]], np.float32)))
    assert ranked["a"].above.size == 0
    assert ranked["b"].above.tolist() == [1]
