"""The search space as data: arms, their knobs, and how a recipe is drawn from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from typing import Any

from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.ports import Suggest
from embedsweep.core.recipe import LOSS_KNOBS, LocalRecipe, Loss, Recipe

Scalar = str | int | float
ARM = "arm"
"""Name of the choice between arms, drawn first when there are several."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values; a single value is a constant and is never drawn."""

    options: tuple[Scalar, ...]

    def draw(self, suggest: Suggest, name: str) -> Scalar:
        return self.options[0] if len(self.options) == 1 else suggest.choice(name, self.options)

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        return self.options


@dataclass(frozen=True, slots=True)
class Uniform:
    """A real number between two bounds, both included."""

    low: float
    high: float
    log: bool = False

    def draw(self, suggest: Suggest, name: str) -> Scalar:
        return suggest.uniform(name, self.low, self.high, log=self.log)

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        return None


@dataclass(frozen=True, slots=True)
class Integers:
    """A whole number between two bounds, both included."""

    low: int
    high: int
    log: bool = False

    def draw(self, suggest: Suggest, name: str) -> Scalar:
        return suggest.integer(name, self.low, self.high, log=self.log)

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        return tuple(range(self.low, self.high + 1))


Domain = Choice | Uniform | Integers


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to make models, with the domain of each of its knobs.

    Attributes:
        name: Unique in the space; prefixes the knobs' names in the study.
        backend: The kind of recipe drawn, such as ``local``.
        knobs: Domain per recipe field; ``loss`` is a `Choice` of loss names.
    """

    name: str
    backend: str
    knobs: Mapping[str, Domain]

    def losses(self) -> tuple[Loss, ...]:
        loss = self.knobs["loss"]
        return tuple(Loss(str(value)) for value in loss.values or ())

    def draw(self, suggest: Suggest, seed: int) -> Recipe:
        values: dict[str, Any] = {"seed": seed}
        for knob in _drawing_order(self.knobs):
            if knob in LOSS_KNOBS and knob not in Loss(values["loss"]).knobs:
                continue
            values[knob] = self.knobs[knob].draw(suggest, f"{self.name}.{knob}")
        values["loss"] = Loss(values["loss"])
        return LocalRecipe(**{**values["loss"].knobs, **values})


def _drawing_order(knobs: Mapping[str, Domain]) -> list[str]:
    """Recipe field order: a loss is drawn before the knobs that hang on it."""
    order = [field.name for field in fields(LocalRecipe)]
    return sorted(knobs, key=order.index)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Everything a sweep may try.

    Attributes:
        arms: At least one, with distinct names.
        seed: The seed every recipe trains with.
    """

    arms: tuple[Arm, ...]
    seed: int

    def draw(self, suggest: Suggest) -> tuple[str, Recipe]:
        """Ask for one value after another and return the arm's name and its recipe."""
        names = tuple(arm.name for arm in self.arms)
        chosen = names[0] if len(names) == 1 else suggest.choice(ARM, names)
        arm = next(arm for arm in self.arms if arm.name == chosen)
        return arm.name, arm.draw(suggest, self.seed)

    def size(self) -> int | None:
        """How many distinct recipes there are; None where a knob is a real number."""
        total = 0
        for arm in self.arms:
            for loss in arm.losses():
                counts = [len(values) if values else 0 for values in _live_values(arm, loss)]
                if 0 in counts:
                    return None
                total += prod(counts)
        return total

    def assignments(self) -> Iterator[dict[str, Scalar]]:
        """Every recipe of a finite space, as the values a `Suggest` would be asked for, by name."""
        for arm in self.arms:
            for loss in arm.losses():
                live = _live_knobs(arm, loss)
                for values in product(*(_values(arm.knobs[knob]) for knob in live)):
                    drawn = {
                        f"{arm.name}.{knob}": value
                        for knob, value in zip(live, values, strict=True)
                        if len(_values(arm.knobs[knob])) > 1
                    }
                    if len(arm.losses()) > 1:
                        drawn[f"{arm.name}.loss"] = loss.value
                    if len(self.arms) > 1:
                        drawn[ARM] = arm.name
                    yield drawn

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        arms = {
            arm.name: {
                "backend": arm.backend,
                "knobs": {name: _domain_as_dict(domain) for name, domain in arm.knobs.items()},
            }
            for arm in self.arms
        }
        return {"arms": arms, "seed": self.seed}


def _live_knobs(arm: Arm, loss: Loss) -> list[str]:
    names = (knob for knob in _drawing_order(arm.knobs) if knob != "loss")
    return [knob for knob in names if knob not in LOSS_KNOBS or knob in loss.knobs]


def _live_values(arm: Arm, loss: Loss) -> list[tuple[Scalar, ...] | None]:
    return [arm.knobs[knob].values for knob in _live_knobs(arm, loss)]


def _values(domain: Domain) -> tuple[Scalar, ...]:
    if domain.values is None:
        raise ValueError("a space with a real-valued knob cannot be listed")
    return domain.values


def _domain_as_dict(domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choice):
        return {"choice": list(domain.options)}
    return {"low": domain.low, "high": domain.high, "log": domain.log}
