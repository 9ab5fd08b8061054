"""The search space as data: arms, their knobs, and how a recipe is drawn from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from typing import Any

from embedsweep.core.fingerprint import fingerprint
from embedsweep.core.ports import Suggest
from embedsweep.core.recipe import (
    LOSS_KNOBS,
    TUNED,
    Base,
    FileForm,
    Head,
    Loss,
    TunedRecipe,
)
from embedsweep.core.roles import Prompts

Scalar = str | int | float
ARM = "arm"
"""Name of the choice between arms, drawn first when there are several."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values; a single value is a constant and is never drawn."""

    options: tuple[Scalar, ...]

    def draw(self, suggest: Suggest, name: str) -> Scalar:
        return self.options[0] if len(self.options) == 1 else suggest.choice(name, self.options)

    def at(self, share: float) -> Scalar:
        return self.options[int(share * len(self.options))]

    @property
    def is_drawn(self) -> bool:
        return len(self.options) > 1

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

    def at(self, share: float) -> Scalar:
        value = _between(self.low, self.high, share, log=self.log)
        return min(max(value, self.low), self.high)

    @property
    def is_drawn(self) -> bool:
        return self.low < self.high

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

    def at(self, share: float) -> Scalar:
        # Each whole number owns what lies within a half of it.
        value = round(_between(self.low - 0.5, self.high + 0.5, share, log=self.log))
        return min(max(value, self.low), self.high)

    @property
    def is_drawn(self) -> bool:
        return self.low < self.high

    @property
    def values(self) -> tuple[Scalar, ...] | None:
        return tuple(range(self.low, self.high + 1))


Domain = Choice | Uniform | Integers
"""Each draws a value, tells the one at a share of its range (0 <= share < 1), and whether there is
more than one to draw."""


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    return float(low * (high / low) ** share) if log else low + (high - low) * share


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to make models, with the domain of each of its knobs.

    Attributes:
        name: Unique in the space; prefixes the knobs' names in the study.
        backend: The kind of recipe drawn, such as ``local``.
        knobs: Domain per recipe field; ``loss`` is a `Choice` of loss names.
        prompts: Prompts that replace those of its base models; `None` to keep them.
    """

    name: str
    backend: str
    knobs: Mapping[str, Domain]
    prompts: Prompts | None = None

    def losses(self) -> tuple[Loss | None, ...]:
        """The losses it can draw; a single None where the loss is left to a server."""
        loss = self.knobs.get("loss")
        if loss is None:
            return (None,)
        return tuple(Loss(str(value)) for value in loss.values or ())

    def bases(self) -> list[Base]:
        """The untuned models its recipes begin from, in the order they are named."""

        def options(knob: str) -> tuple[Scalar, ...]:
            domain = self.knobs.get(knob)
            return () if domain is None else domain.values or ()

        return [
            Base(
                str(model),
                str(provider) if provider else None,
                int(size) if size else None,
                self.prompts,
                str(revision) if revision else None,
            )
            for model in options("base_model")
            for provider in options("provider") or (None,)
            for size in options("dimensions") or (None,)
            for revision in options("revision") or (None,)
        ]

    def draw(self, suggest: Suggest, seed: int) -> TunedRecipe:
        values: dict[str, Any] = {"seed": seed}
        if self.prompts is not None:
            values["prompts"] = self.prompts
        for knob in _drawing_order(self):
            if _is_live(knob, values):
                values[knob] = self.knobs[knob].draw(suggest, f"{self.name}.{knob}")
        if "loss" in values:
            values["loss"] = loss = Loss(values["loss"])
            known = {field.name for field in fields(TUNED[self.backend])}
            own = {name: value for name, value in loss.knobs.items() if name in known}
            values = {**own, **values}
        for name, enum in (("head", Head), ("form", FileForm)):
            if name in values:
                values[name] = enum(values[name])
        return TUNED[self.backend](**values)


def _drawing_order(arm: Arm) -> list[str]:
    """Recipe field order, but a loss and a head are drawn before the knobs that hang on them."""
    order = [field.name for field in fields(TUNED[arm.backend])]
    return sorted(arm.knobs, key=lambda knob: (knob not in _FIRST, order.index(knob)))


_FIRST = ("loss", "head")


def _is_live(knob: str, values: Mapping[str, Any]) -> bool:
    """Whether a knob means anything beside the values drawn so far."""
    if knob in LOSS_KNOBS:
        return knob in Loss(values["loss"]).knobs
    return knob != "width" or values["head"] != Head.LINEAR


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Everything a sweep may try.

    Attributes:
        arms: At least one, with distinct names.
        seed: The seed every recipe trains with.
    """

    arms: tuple[Arm, ...]
    seed: int

    def draw(self, suggest: Suggest) -> tuple[str, TunedRecipe]:
        """Ask for one value after another and return the arm's name and its recipe."""
        names = tuple(arm.name for arm in self.arms)
        chosen = names[0] if len(names) == 1 else suggest.choice(ARM, names)
        arm = next(arm for arm in self.arms if arm.name == chosen)
        return arm.name, arm.draw(suggest, self.seed)

    def bases(self) -> tuple[Base, ...]:
        """Every untuned model its recipes begin from, in the order they are named."""
        return tuple(dict.fromkeys(base for arm in self.arms for base in arm.bases()))

    def size(self) -> int | None:
        """How many distinct recipes there are; None where a knob is a real number."""
        total = 0
        for arm in self.arms:
            for branch in _branches(arm):
                domains = [arm.knobs[knob].values for knob in _live_knobs(arm, branch)]
                if None in domains:
                    return None
                total += prod(len(values or ()) for values in domains)
        return total

    def assignments(self) -> Iterator[dict[str, Scalar]]:
        """Every recipe of a finite space, as the values a `Suggest` would be asked for, by name."""
        for arm in self.arms:
            for branch in _branches(arm):
                live = _live_knobs(arm, branch)
                for values in product(*(_values(arm.knobs[knob]) for knob in live)):
                    recipe = {**branch, **dict(zip(live, values, strict=True))}
                    drawn = {
                        f"{arm.name}.{knob}": value
                        for knob, value in recipe.items()
                        if len(_values(arm.knobs[knob])) > 1
                    }
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
                **({"prompts": arm.prompts.as_dict()} if arm.prompts else {}),
            }
            for arm in self.arms
        }
        return {"arms": arms, "seed": self.seed}


def _branches(arm: Arm) -> Iterator[dict[str, Scalar]]:
    """Every choice of the knobs that other knobs hang on."""
    first = [knob for knob in _FIRST if knob in arm.knobs]
    for values in product(*(_values(arm.knobs[knob]) for knob in first)):
        yield dict(zip(first, values, strict=True))


def _live_knobs(arm: Arm, branch: Mapping[str, Scalar]) -> list[str]:
    names = (knob for knob in _drawing_order(arm) if knob not in _FIRST)
    return [knob for knob in names if _is_live(knob, branch)]


def _values(domain: Domain) -> tuple[Scalar, ...]:
    if domain.values is None:
        raise ValueError("a space with a real-valued knob cannot be listed")
    return domain.values


def _domain_as_dict(domain: Domain) -> dict[str, Any]:
    if isinstance(domain, Choice):
        return {"choice": list(domain.options)}
    return {"low": domain.low, "high": domain.high, "log": domain.log}
