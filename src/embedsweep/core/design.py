"""The initial design: what is tried before a sampler has seen enough to propose.

McKay, Beckman and Conover 1979, "A Comparison of Three Methods for Selecting Values of Input
Variables in the Analysis of Output from a Computer Code": in a Latin hypercube of n points each
n-th part of every knob's range holds exactly one. Four points drawn independently leave a given
quarter of a range out one time in three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from embedsweep.core.recipe import TunedRecipe
from embedsweep.core.space import ARM, Arm, Scalar, SearchSpace


@dataclass(frozen=True)
class Point:
    """A place in a search space, or where knobs have no value, a part of it.

    Attributes:
        arm: The arm's name.
        values: By the names a `Suggest` would be asked for.
    """

    arm: str
    values: Mapping[str, Scalar]

    def recipe(self, space: SearchSpace) -> TunedRecipe:
        """The recipe at a point that has a value for each knob."""
        _, recipe = space.draw(_Given(self.values))
        return recipe


class _Given:
    """Answers with given values; fulfils `core.ports.Suggest`."""

    def __init__(self, values: Mapping[str, Scalar]) -> None:
        self._values = values

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        del options
        return self._values[name]

    def uniform(self, name: str, low: float, high: float, *, log: bool) -> float:
        del low, high, log
        return float(self._values[name])

    def integer(self, name: str, low: int, high: int, *, log: bool) -> int:
        del low, high, log
        return int(self._values[name])


def initial_design(space: SearchSpace, points: int, backend: str | None = None) -> list[Point]:
    """Points in the order in which they are to be tried.

    The arms take turns and each comes at least once. A single point of an arm fixes none of its
    knobs: one point has nothing to be spread from.

    Args:
        space: Its seed decides the points.
        points: In all, about.
        backend: The arms of this one alone, of which there is at least one; None for all arms.
    """
    random = Random(f"{space.seed}/initial design")  # noqa: S311 - a draw, no secret
    arms = [arm for arm in space.arms if backend in (None, arm.backend)]
    turns = max(1, -(-points // len(arms)))
    hypercubes = [list(_hypercube(arm, turns, random)) for arm in arms]
    several = len(space.arms) > 1
    return [
        Point(arm.name, {**({ARM: arm.name} if several else {}), **hypercube[turn]})
        for turn in range(turns)
        for arm, hypercube in zip(arms, hypercubes, strict=True)
    ]


def _hypercube(arm: Arm, points: int, random: Random) -> Iterator[dict[str, Scalar]]:
    """The values of so many points of an arm.

    A knob that means nothing beside the others has a value too, which nobody asks for.
    """
    drawn = [knob for knob, domain in arm.knobs.items() if domain.is_drawn] if points > 1 else []
    parts = {knob: random.sample(range(points), points) for knob in drawn}
    for point in range(points):
        yield {
            f"{arm.name}.{knob}": arm.knobs[knob].at((own[point] + random.random()) / points)
            for knob, own in parts.items()
        }
