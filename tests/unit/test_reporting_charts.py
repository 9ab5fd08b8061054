"""The drawings: what is drawn where, and for hardly any values as well as for many."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from embedsweep.core.space import Choice, Integers, Uniform
from embedsweep.reporting.charts.curves import LONGEST, Course, curves_chart, thinned
from embedsweep.reporting.charts.history import Tried, history_chart
from embedsweep.reporting.charts.paper import ARM_COLOURS, SHADES, point
from embedsweep.reporting.charts.parallel import Strand, parallel_chart, shade
from embedsweep.reporting.charts.spans import (
    Pair,
    change_cell,
    gain_chart,
    interval_cell,
    row_scale,
    splits_chart,
)

SVG = "{http://www.w3.org/2000/svg}"


def read(drawing: str) -> ElementTree.Element:
    assert not re.search(r'"[^"]*\b(nan|inf)\b', drawing)
    return ElementTree.fromstring(drawing)


def by_class(drawing: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [each for each in drawing.iter() if name in (each.get("class") or "").split()]


def words(drawing: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in drawing.iter(f"{SVG}text")]


def tried(number: int, score: float | None, state: str = "completed") -> Tried:
    return Tried(number, score, number % 2, state, f"t{number}")


def test_the_history_marks_every_trial_by_what_became_of_it() -> None:
    trials = [tried(0, 0.5), tried(1, None, "failed"), tried(2, 0.4, "pruned"), tried(3, 0.7)]
    drawing = read(history_chart(trials, [("untuned", 0.45)], "ndcg@10"))
    assert len(by_class(drawing, "point")) == 3
    assert len(by_class(drawing, "hollow")) == 1
    assert len(by_class(drawing, "cross")) == 1
    assert len(by_class(drawing, "baseline")) == 1
    tips = [each.text for each in drawing.iter(f"{SVG}title")]
    assert tips[1:] == ["t0", "t1", "t2", "t3"]


def test_the_best_so_far_never_falls_and_a_pruned_score_does_not_raise_it() -> None:
    trials = [tried(0, 0.5), tried(1, 0.9, "pruned"), tried(2, 0.4), tried(3, 0.7)]
    (line,) = by_class(read(history_chart(trials, [], "m")), "best")
    heights = [float(each.split(",")[1]) for each in str(line.get("points")).split()]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 2


def test_a_baseline_far_from_all_trials_is_named_and_squeezes_nothing() -> None:
    trials = [tried(n, 0.70 + n / 100) for n in range(5)]
    near = read(history_chart(trials, [("untuned", 0.69)], "m"))
    far = read(history_chart(trials, [("bm25", 0.1)], "m"))
    assert len(by_class(near, "baseline")) == 1
    assert by_class(far, "baseline") == []
    assert "bm25 0.1000 ↓" in words(far)


@pytest.mark.parametrize("trials", [[], [tried(0, None, "failed")], [tried(0, 0.5)],
                                    [tried(0, 0.5), tried(1, 0.5)]])  # fmt: skip
def test_a_history_of_hardly_anything_is_drawn(trials) -> None:
    drawing = read(history_chart(trials, [], "m"))
    assert len(by_class(drawing, "point")) == sum(each.score is not None for each in trials)


KNOBS = {
    "loss": Choice(("a", "b")),
    "epochs": Integers(1, 4),
    "learning_rate": Uniform(1e-5, 1e-3, log=True),
    "width": Integers(8, 64, log=True),
}


def strand(score: float, rate: float, **more: float) -> Strand:
    return Strand({"loss": "a", "epochs": 2, "learning_rate": rate, **more}, score, "tip")


def places(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.get("points").split())]
        for line in by_class(drawing, "strand")
    ]


def test_a_strand_crosses_every_axis_and_log_knobs_lie_on_log_axes() -> None:
    strands = [strand(0.1, 1e-5, width=8), strand(0.2, 1e-4, width=8), strand(0.3, 1e-3, width=8)]
    low, middle, high = places(read(parallel_chart(KNOBS, strands, [0.1, 0.2, 0.3], "m")))
    assert len(low) == len(KNOBS) + 1
    assert middle[2][1] == pytest.approx((low[2][1] + high[2][1]) / 2, abs=0.02)
    assert low[-1][1] > middle[-1][1] > high[-1][1]


def test_a_knob_that_a_trial_does_not_have_is_passed_below_its_axis() -> None:
    with_width, without = strand(0.1, 1e-4, width=8), strand(0.2, 1e-4)
    first, second = places(read(parallel_chart(KNOBS, [with_width, without], [0.1, 0.2], "m")))
    assert second[3][1] > first[3][1]


def test_knobs_of_whole_numbers_have_whole_ticks() -> None:
    drawing = read(parallel_chart({"epochs": Integers(1, 3)}, [], [0.1], "m"))
    assert {"1", "2", "3"} <= set(words(drawing))
    assert not {"1.5", "2.5"} & set(words(drawing))


def test_shades_go_by_rank() -> None:
    scores = [0.0, 0.70, 0.71, 0.72]
    assert shade(0.72, scores) == SHADES - 1
    assert shade(0.0, scores) == 0
    assert 0 < shade(0.70, scores) < shade(0.71, scores) < SHADES - 1
    assert shade(0.5, [0.5]) == 0


def test_curves_of_one_epoch_are_points_and_the_best_is_thick() -> None:
    courses = [
        Course([(1, 0.5)], 0, "one"),
        Course([(1, 0.5), (2, 0.6)], 1, "two", best=True),
        Course([(1, math.nan)], 0, "none"),
    ]
    drawing = read(curves_chart(courses, "m", "Objective"))
    assert len(by_class(drawing, "course")) == 1
    assert len(by_class(drawing, "strong")) == 1
    assert len(by_class(drawing, "point")) == 2
    read(curves_chart([], "m", "Objective"))


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    points = [(step, float(step)) for step in range(1, 1001)]
    assert len(thinned(points)) <= LONGEST
    assert thinned(points)[-1] == points[-1]
    assert thinned(points[:7]) == points[:7]


def test_an_interval_lies_around_its_score() -> None:
    scale = row_scale([0.4, 0.6])
    cell = read(interval_cell(scale, 0.5, (0.45, 0.55), 0))
    ends = [float(each.get("x1")) for each in by_class(cell, "whisker")]
    (dot,) = by_class(cell, "point")
    assert min(ends) < float(dot.get("cx")) < max(ends)
    assert len(by_class(read(interval_cell(scale, 0.5, None, None)), "whisker")) == 0


def test_gains_and_losses_lie_on_either_side_of_zero() -> None:
    scale = row_scale([-0.1, 0.0, 0.2])
    (gain,) = by_class(read(change_cell(scale, 0.2)), "gain")
    (loss,) = by_class(read(change_cell(scale, -0.1)), "loss")
    assert float(gain.get("x")) == pytest.approx(scale(0.0), abs=0.01)
    assert float(loss.get("x")) < scale(0.0)


def test_the_gain_is_drawn_beside_zero_and_what_is_needed() -> None:
    assert len(by_class(read(gain_chart(0.05, (0.02, 0.08), 0.0, "m")), "zero")) == 1
    assert len(by_class(read(gain_chart(0.05, (0.02, 0.08), 0.01, "m")), "least")) == 1
    read(gain_chart(0.0, (0.0, 0.0), 0.0, "m"))


def test_both_splits_are_drawn_where_they_are_known() -> None:
    pairs = [Pair("candidate", 0.7, 0.6), Pair("champion", None, 0.5)]
    drawing = read(splits_chart(pairs, 0.02, "m"))
    assert len(by_class(drawing, "hollow")) == 1
    assert len(by_class(drawing, "point")) == 3
    assert len(by_class(drawing, "optimism")) == 1
    assert "not known" in str(drawing.find(f"{SVG}desc").text)


def test_arms_differ_by_shape_where_colours_are_not_seen() -> None:
    shapes = {read(point(5, 5, place)).tag for place in range(3)}
    assert len(shapes) == 3
    classes = {str(read(point(5, 5, place)).get("class")) for place in range(ARM_COLOURS)}
    assert len(classes) == ARM_COLOURS
