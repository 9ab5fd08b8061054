"""Scales and ticks: round, within the range, and there for any values at all."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedsweep.reporting.scales import Scale, extent, label, labels, log_ticks, round_ticks

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


def test_a_scale_puts_its_ends_at_the_ends_and_the_middle_between() -> None:
    scale = Scale(2.0, 4.0, 10.0, 110.0)
    assert (scale(2.0), scale(3.0), scale(4.0)) == (10.0, 60.0, 110.0)
    upward = Scale(2.0, 4.0, 110.0, 10.0)
    assert (upward(2.0), upward(4.0)) == (110.0, 10.0)


def test_a_log_scale_gives_equal_ratios_equal_room() -> None:
    scale = Scale(1e-5, 1e-3, 0.0, 100.0, log=True)
    assert scale(1e-4) == pytest.approx(50.0)


def test_what_lies_beyond_is_put_at_the_nearer_end() -> None:
    scale = Scale(0.0, 1.0, 0.0, 100.0)
    assert (scale(-5.0), scale(7.0), scale(math.inf)) == (0.0, 100.0, 100.0)
    assert not scale.holds(-5.0)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([], 0.0, 1.0),
        ([math.nan, math.inf], 0.0, 1.0),
        ([0.0], -1.0, 1.0),
        ([0.5, 0.5], 0.47, 0.53),
        ([1.0, math.nan, 3.0], 0.88, 3.12),
    ],
)
def test_the_extent_of_few_equal_or_no_values_is_a_range(values, low, high) -> None:
    assert extent(values) == pytest.approx((low, high))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, min_value=None), max_size=5))
def test_any_values_at_all_have_an_extent_that_a_scale_can_use(values) -> None:
    values = [each for each in values if not abs(each) > 1e100]
    low, high = extent(values)
    assert math.isfinite(low)
    assert low < high


@given(FINITE, st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_within_the_range_and_about_as_many_as_asked(low, width, count) -> None:
    high = low + width
    if high - low < abs(low) * 1e-9:
        return
    ticks = round_ticks(low, high, count)
    room = (high - low) * 1e-6
    assert 1 <= len(ticks) <= 2 * count + 1
    assert all(low - room <= tick <= high + room for tick in ticks)
    assert all(after > before for before, after in pairwise(ticks))


def test_ticks_stand_where_people_expect_them() -> None:
    assert round_ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_ticks(0.648, 0.686, 4) == pytest.approx([0.65, 0.66, 0.67, 0.68])
    assert log_ticks(1e-5, 1e-2) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert log_ticks(1.0, 8.0) == pytest.approx([1.0, 2.0, 5.0])
    assert log_ticks(3.1, 4.2) == [3.1, 4.2]


def test_labels_have_the_digits_their_step_needs_and_a_true_minus() -> None:
    assert labels([0.0, 0.2, 0.4]) == ["0", "0.2", "0.4"]
    assert labels([-0.05, 0.0, 0.05]) == ["−0.05", "0", "0.05"]
    assert labels([0.7475, 0.75, 0.7525]) == ["0.7475", "0.7500", "0.7525"]
    assert labels([1e-5, 1e-4, 1e-3]) == ["1e-05", "0.0001", "0.001"]
    assert labels([16.0]) == ["16"]
    assert label(2_500_000.0) == "2.5e6"
