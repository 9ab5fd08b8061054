"""The initial design reaches every part of every knob's range."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from embedsweep.core.design import Point, initial_design
from embedsweep.core.space import ARM, Arm, Choice, Domain, Integers, Scalar, SearchSpace, Uniform

LOW, HIGH = 1e-5, 1e-2
KNOBS: dict[str, Domain] = {
    "base_model": Choice(("m",)),
    "loss": Choice(("triplet", "cosent")),
    "learning_rate": Uniform(LOW, HIGH, log=True),
    "margin": Uniform(0.1, 0.5),
    "batch_size": Integers(16, 19),
    "epochs": Choice((2,)),
}


def space(*names: str, seed: int = 7) -> SearchSpace:
    return SearchSpace(tuple(Arm(name, "local", KNOBS) for name in names), seed)


def values(space: SearchSpace, points: int) -> list[dict[str, Scalar]]:
    return [dict(point.values) for point in initial_design(space, points)]


def part(value: float, parts: int) -> int:
    """Which part of the rate's range, evenly in the logarithm, a rate lies in."""
    bounds = [LOW * (HIGH / LOW) ** (place / parts) for place in range(parts + 1)]
    return next(place for place, (low, high) in enumerate(pairwise(bounds)) if low <= value < high)


@pytest.mark.parametrize("points", [2, 4, 5, 16])
def test_each_part_of_a_range_holds_one_point(points: int) -> None:
    design = values(space("local"), points)
    rates = [float(point["local.learning_rate"]) for point in design]
    assert sorted(part(rate, points) for rate in rates) == list(range(points))
    margins = [float(point["local.margin"]) for point in design]
    assert sorted(int((margin - 0.1) / 0.4 * points) for margin in margins) == list(range(points))


def test_control_independent_draws_leave_parts_out() -> None:
    random = Random(7)
    rates = [LOW * (HIGH / LOW) ** random.random() for _ in range(16)]
    assert len({part(rate, 16) for rate in rates}) < 16


def test_options_and_whole_numbers_come_equally_often() -> None:
    design = values(space("local"), 8)
    assert Counter(point["local.loss"] for point in design) == {"triplet": 4, "cosent": 4}
    sizes = Counter(point["local.batch_size"] for point in design)
    assert sizes == {16: 2, 17: 2, 18: 2, 19: 2}
    assert all(isinstance(point["local.batch_size"], int) for point in design)


def test_knobs_are_spread_independently_of_each_other() -> None:
    orders = []
    for knob in ("learning_rate", "margin"):
        own = [float(point[f"local.{knob}"]) for point in values(space("local"), 16)]
        orders.append(sorted(range(16), key=own.__getitem__))
    assert orders[0] != orders[1]


def test_constants_and_the_arm_of_a_single_one_are_left_out() -> None:
    (first, *_) = values(space("local"), 4)
    assert set(first) == {f"local.{knob}" for knob in KNOBS.keys() - {"base_model", "epochs"}}


def test_arms_take_turns_and_are_each_spread() -> None:
    design = values(space("a", "b"), 5)
    assert [point[ARM] for point in design] == ["a", "b"] * 3
    for name in ("a", "b"):
        own = [float(point[f"{name}.learning_rate"]) for point in design if point[ARM] == name]
        assert sorted(part(rate, 3) for rate in own) == [0, 1, 2]


def test_some_arms_alone_are_still_told_from_the_others() -> None:
    both = SearchSpace((Arm("a", "local", KNOBS), Arm("b", "adapter", KNOBS)), seed=7)
    design = initial_design(both, 4, "local")
    assert [point.arm for point in design] == ["a"] * 4
    assert {point.values[ARM] for point in design} == {"a"}
    assert all(point.recipe(both).kind == "local" for point in design)


def test_every_arm_comes_also_where_there_are_fewer_points() -> None:
    design = initial_design(space("a", "b", "c"), 2)
    assert design == [Point(name, {ARM: name}) for name in ("a", "b", "c")]


def test_a_single_point_is_the_samplers_to_draw() -> None:
    assert values(space("local"), 1) == [{}]


def test_a_point_with_a_value_for_each_knob_is_a_recipe() -> None:
    arms = space("a", "b")
    recipes = [point.recipe(arms) for point in initial_design(arms, 4)]
    for recipe, point in zip(recipes, initial_design(arms, 4), strict=True):
        assert recipe.seed == 7
        assert recipe.learning_rate == point.values[f"{point.arm}.learning_rate"]
        assert (recipe.margin is None) == (recipe.loss == "cosent")


def test_the_seed_decides() -> None:
    assert initial_design(space("a"), 4) == initial_design(space("a"), 4)
    assert initial_design(space("a"), 4) != initial_design(space("a", seed=8), 4)


@pytest.mark.parametrize(
    ("domain", "first", "last"),
    [
        (Choice((32, 64, 128)), 32, 128),
        (Uniform(1e-5, 1e-3, log=True), 1e-5, 1e-3),
        (Uniform(-1.0, 3.0), -1.0, 3.0),
        (Integers(1, 5), 1, 5),
        (Integers(8, 128, log=True), 8, 128),
    ],
)
def test_a_share_spans_the_range_and_never_leaves_it(domain: Domain, first, last) -> None:
    assert domain.at(0.0) == pytest.approx(first)
    assert domain.at(1 - 1e-12) == pytest.approx(last)
    for place in range(1000):
        assert first <= domain.at(place / 1000) <= last
