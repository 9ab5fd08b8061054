"""The initial design: what is tried before a sampler has seen enough to propose.

McKay, Beckman and Conover 1979, "A Comparison of Three Methods for Selecting Values of Input
Variables in the Analysis of Output from a Computer Code": in a Latin hypercube of n points each
n-th part of every knob's range holds exactly one. Four points drawn independently leave a given
quarter of a range out one time in three.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from embedsweep.core.space import ARM, Arm, Scalar, SearchSpace


def initial_design(space: SearchSpace, points: int) -> list[dict[str, Scalar]]:
    """Values by the names a `Suggest` would be asked for; what has none is the sampler's to draw.

    The arms take turns and each comes at least once. A single point of an arm fixes none of its
    knobs: one point has nothing to be spread from.

    Args:
        space: Its seed decides the points.
        points: In all, about.
    """
    random = Random(f"{space.seed}/initial design")  # noqa: S311 - a draw, no secret
    turns = max(1, -(-points // len(space.arms)))
    hypercubes = [list(_hypercube(arm, turns, random)) for arm in space.arms]
    several = len(space.arms) > 1
    return [
        {**({ARM: arm.name} if several else {}), **hypercube[turn]}
        for turn in range(turns)
        for arm, hypercube in zip(space.arms, hypercubes, strict=True)
    ]


def _hypercube(arm: Arm, points: int, random: Random) -> Iterator[dict[str, Scalar]]:
    """So many points of an arm.

    A knob that means nothing beside the others has a value too, which nobody asks for.
    """
    drawn = [knob for knob, domain in arm.knobs.items() if domain.is_drawn] if points > 1 else []
    parts = {knob: random.sample(range(points), points) for knob in drawn}
    for point in range(points):
        yield {
            f"{arm.name}.{knob}": arm.knobs[knob].at((own[point] + random.random()) / points)
            for knob, own in parts.items()
        }
