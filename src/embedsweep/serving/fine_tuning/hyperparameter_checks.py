"""What a client may ask of a training."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embedsweep.core.recipe import Loss
from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.hyperparameters import AUTO, STANDARD, Value, stray_knob
from embedsweep.serving.fine_tuning.limits import FineTuningLimits

MOST = 10_000.0
"""Of multiplier and scale; beyond it no training is meant."""

LARGEST_MARGIN = 2.0
"""No two vectors are further apart, in cosine distance."""

OWN = ("loss", "scale", "margin")
"""What this service takes beyond OpenAI's hyperparameters, there or at the top of the request."""


@dataclass(frozen=True)
class _Whole:
    least: int
    most: int

    @property
    def expected(self) -> str:
        return f"'auto' or a whole number from {self.least} to {self.most}"

    def fits(self, value: object) -> bool:
        return type(value) is int and self.least <= value <= self.most


@dataclass(frozen=True)
class _Number:
    most: float

    @property
    def expected(self) -> str:
        return f"'auto' or a number above 0 and up to {self.most:g}"

    def fits(self, value: object) -> bool:
        return type(value) in (int, float) and 0 < float(value) <= self.most  # type: ignore[arg-type]


@dataclass(frozen=True)
class _OneOf:
    values: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"'auto' or one of {', '.join(self.values)}"

    def fits(self, value: object) -> bool:
        return isinstance(value, str) and value in self.values


def _domains(limits: FineTuningLimits) -> dict[str, _Whole | _Number | _OneOf]:
    return {
        "n_epochs": _Whole(1, limits.epochs),
        # There are no negatives in a batch of one.
        "batch_size": _Whole(2, limits.batch_size),
        "learning_rate_multiplier": _Number(MOST),
        "loss": _OneOf(tuple(loss.value for loss in Loss)),
        "scale": _Number(MOST),
        "margin": _Number(LARGEST_MARGIN),
    }


def asked(request: Mapping[str, Any], limits: FineTuningLimits) -> dict[str, Value]:
    """The hyperparameters of a request for a job, checked; OpenAI's three are always there.

    Args:
        request: Its body. They stand in ``method.supervised.hyperparameters``, in
            ``hyperparameters``, or, those of `OWN`, at its top.
        limits: The largest values.

    Raises:
        ApiError: 400 for one that is unknown, unfit, or given twice and differently.
    """
    domains = _domains(limits)
    values: dict[str, Value] = {}
    for place, name, value in _given(request):
        domain = domains.get(name)
        if domain is None:
            near = difflib.get_close_matches(name, domains, 1)
            hint = f"; did you mean {near[0]}?" if near else f", expected {', '.join(domains)}"
            raise _invalid(place, f"is no hyperparameter{hint}")
        if value is None or value == AUTO:
            continue
        if not domain.fits(value):
            raise _invalid(place, f"is {_shown(value)}, expected {domain.expected}")
        if values.setdefault(name, value) != value:
            raise _invalid(place, f"is {_shown(value)} here and {values[name]} elsewhere")
    loss = values.get("loss")
    if loss is not None and (stray := stray_knob(Loss(str(loss)), values)):
        raise ApiError(400, "invalid_value", stray, "loss")
    return {name: AUTO for name in STANDARD} | values


def _given(request: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """(where it stands, its name, its value) of every hyperparameter."""
    for name in OWN:
        if name in request:
            yield name, name, request[name]
    sections = {"hyperparameters": request.get("hyperparameters")}
    method = _object(request.get("method"), "method")
    if method:
        kind = method.get("type")
        if kind != "supervised":
            raise _invalid("method.type", f"is {_shown(kind)}, only 'supervised' is taken here")
        supervised = _object(method.get("supervised"), "method.supervised")
        sections["method.supervised.hyperparameters"] = supervised.get("hyperparameters")
    for place, section in sections.items():
        for name, value in _object(section, place).items():
            yield f"{place}.{ascii(name[:64])[1:-1]}", name, value


def _object(value: object, place: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _invalid(place, "must be an object")
    return value


def _invalid(place: str, why: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{place}: {why}", place)


def _shown(value: object) -> str:
    """The value, where it is short and plain; else what it is. Holds nothing but ASCII."""
    if isinstance(value, str):
        return ascii(value[:64])
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**15):
        return str(value)
    return {int: "a huge number", list: "a list", dict: "an object"}.get(type(value), "no number")
