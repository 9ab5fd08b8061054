"""The forms a searchable value may take: one value, a list to choose from, or a range."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    StrictBool,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import CoreSchema

from embedsweep.config.document import parse_number
from embedsweep.config.refusal import refused, shown
from embedsweep.core.space import Choice, Domain, Integers, Uniform

ONE, LIST, RANGE = "one value", "a list", "a range"
_NUMBER = "write a number, such as 3 or 1e-5"
FORMS = (ONE, LIST, RANGE)
"""The names pydantic puts into an error's place for the form it took a value to have."""


class Section(BaseModel):
    """A mapping of the file: keys it does not know are errors."""

    # Built with the whole file's, once: each section alone would be built and never asked.
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )


def _number(value: object) -> int | float:
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise refused(f"{shown(value)}, expected a number", _NUMBER)
    if not -1e300 < number < 1e300:
        raise refused(f"{shown(value)}, expected a finite number", _NUMBER)
    return number


def _whole(value: object) -> int:
    number = _number(value)
    if number != int(number):
        raise refused(f"{shown(value)}, expected a whole number", "write a number without fraction")
    return int(number)


def _real(value: object) -> float:
    return float(_number(value))


WHOLE = BeforeValidator(_whole)
REAL = BeforeValidator(_real)
"""Stand last in an `Annotated`, so that the bounds before them reach the JSON Schema."""


class Range(Section):
    """All numbers between two bounds, both included."""

    low: float
    """The smallest value that may be drawn."""
    log: StrictBool = False
    """Whether equal ratios, rather than equal steps, are equally likely."""
    high: float
    """The largest value that may be drawn."""

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low")
        if low is None:
            return high
        if low == high:
            fix = f"write the value itself, {high:g}"
            raise refused(f"low and high are both {high:g}, expected a range", fix)
        if low > high:
            why = f"low is {low:g} and high is {high:g}, expected low below high"
            raise refused(why, f"write low: {high:g} and high: {low:g}")
        if info.data.get("log") and low <= 0:
            why = f"low is {low:g} and high is {high:g}, a log range must begin above 0"
            raise refused(why, "raise low above 0 or leave log out")
        return high


class _Bounded(Range):
    """A range of one knob; it has no text of its own to be looked for in the source."""

    model_config = ConfigDict(use_attribute_docstrings=False)


def _form(value: object) -> str:
    return RANGE if isinstance(value, dict) else LIST if isinstance(value, list) else ONE


def _distinct(values: list[Any]) -> list[Any]:
    for place, value in enumerate(values):
        if value in values[:place]:
            raise refused(f"the list names {shown(value)} twice", "remove one of the two")
    return values


def _domain(value: Any) -> Domain:  # noqa: ANN401 - any of the forms
    if isinstance(value, Range):
        if isinstance(value.low, int):
            return Integers(value.low, int(value.high), value.log)
        return Uniform(value.low, value.high, value.log)
    options = value if isinstance(value, list) else [value]
    return Choice(tuple(option.value if isinstance(option, Enum) else option for option in options))


class Knob:
    """Marks a field as searchable: the file gives any of the forms, the model holds a `Domain`.

    Args:
        item: The type of one value; of an int or float every way to write it is read.
        title: Names the range in the JSON Schema; None if a range makes no sense.
        ge, gt, le: Bounds of a number, as in pydantic's ``Field``.
    """

    def __init__(
        self,
        item: Any,  # noqa: ANN401 - any type form
        title: str | None = None,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
    ) -> None:
        reader = {int: WHOLE, float: REAL}.get(item)
        bounded: Any = Annotated[item, Field(ge=ge, gt=gt, le=le), reader]
        self.item: Any = bounded if reader else item
        self.title = title

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        several: Any = Annotated[
            list.__class_getitem__(self.item),
            Field(min_length=1, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_distinct),
            Tag(LIST),
        ]
        forms: Any = Annotated[self.item, Tag(ONE)] | several
        if self.title:
            between = create_model(
                f"{self.title}Range", __base__=_Bounded, low=(self.item, ...), high=(self.item, ...)
            )
            forms |= Annotated[between, Tag(RANGE)]
        to_domain: Callable[[Any], Domain] = _domain
        return handler.generate_schema(
            Annotated[forms, Discriminator(_form), AfterValidator(to_domain)]
        )
