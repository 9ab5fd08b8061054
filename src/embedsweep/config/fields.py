"""The types of the file's fields: how one value is read, and what it may be."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StrictStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from embedsweep.config.document import parse_number
from embedsweep.config.knobs import REAL, WHOLE
from embedsweep.config.refusal import Reading, expanded, nearest, refused, shown
from embedsweep.core.losses import OFF
from embedsweep.core.report import PLAIN, RANKED, WITHOUT_SCORES, Measure

SEEDS = 2**32
"""Seeds lie below this: numpy takes no larger one."""

NAME_PATTERN = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}$"
ARM_NAME_PATTERN = r"^[A-Za-z0-9_-]{1,40}$"
ANY_LOSS = float("-inf")
"""The bound that ``off`` means."""

RULES = {
    NAME_PATTERN: "1 to 80 letters, digits, _, - and dots, no dot at the start",
    ARM_NAME_PATTERN: "1 to 40 letters, digits, _ and -",
}
"""What the patterns mean."""

_CUT = re.compile(r"[1-9][0-9]{0,5}")


def text(value: object, info: ValidationInfo[Reading]) -> str:
    """Some text, with ``${NAME}`` in it replaced from the environment."""
    if not isinstance(value, str) or not value.strip():
        raise refused(f"{shown(value)}, expected text", "write a path or a name")
    try:
        return expanded(value, info.context.environ)
    except ValueError as error:
        why, fix = error.args
        raise refused(why, fix) from None


def _path(value: object, info: ValidationInfo[Reading]) -> Path:
    # normpath, because resolve() would follow links and fails on a loop of them.
    return Path(os.path.normpath(info.context.folder / text(value, info)))


def _base_model(value: object, info: ValidationInfo[Reading]) -> str:
    """A folder beside the file becomes absolute; all else is a name, for the backend to know."""
    folder = _path(value, info)
    try:
        found = folder.is_dir()
    except OSError:  # such as a name that is too long for a file
        found = False
    return str(folder) if found else text(value, info)


def _measure(value: object) -> Measure:
    if isinstance(value, list):
        why = f"{shown(value)} is a list, one measure is supported"
        raise refused(why, "name the one measure that decides; the others can be guards")
    if not isinstance(value, str):
        raise refused(f"{shown(value)}, expected a measure", "write a measure, such as ndcg@10")
    try:
        return Measure.parse(value)
    except ValueError as error:
        name, _, cut = value.partition("@")
        close = nearest(name, [*RANKED, *PLAIN])
        fix = "write one of these, such as ndcg@10"
        if close:
            meant = f"{close}@{cut if _CUT.fullmatch(cut) else 10}" if close in RANKED else close
            fix = f"did you mean {meant}? Write {meant}"
        raise refused(str(error), fix) from None


def _objective(value: object) -> Measure:
    measure = _measure(value)
    if not measure.has_scores:
        why = f"{measure} has no score per example, so two models cannot be compared by it"
        raise refused(why, f"choose another than {', '.join(sorted(WITHOUT_SCORES))}")
    return measure


FieldName = Annotated[StrictStr, Field(min_length=1)]
DataPath = Annotated[Path, BeforeValidator(_path)]
Text = Annotated[str, BeforeValidator(text)]
BaseModelName = Annotated[str, BeforeValidator(_base_model)]
Name = Annotated[StrictStr, Field(pattern=NAME_PATTERN)]
ArmName = Annotated[StrictStr, Field(pattern=ARM_NAME_PATTERN)]
Seed = Annotated[int, Field(ge=0, lt=SEEDS), WHOLE]
Count = Annotated[int, Field(ge=1), WHOLE]
Share = Annotated[float, Field(ge=0, lt=1), REAL]


def _or_off(value: object, bound: ValidatorFunctionWrapHandler) -> float:
    """Read ``off``, which YAML 1.1 reads as ``false``, as `ANY_LOSS`; anything else as a bound."""
    if value is False or (isinstance(value, str) and value.strip().lower() in (OFF, "false")):
        return ANY_LOSS
    if not isinstance(value, int | float) or value is True:
        why = f"{shown(value)}, expected a number from -1 to 0, or off"
        fix = "write off to allow any loss, or the largest loss allowed, such as -0.01"
        if not isinstance(value, str) or parse_number(value) is None:
            raise refused(why, fix)
    return float(bound(value))


_MEASURE_SCHEMA = WithJsonSchema({"type": "string", "examples": ["ndcg@10", "accuracy"]})
Objective = Annotated[Measure, PlainValidator(_objective), _MEASURE_SCHEMA]
GuardBound = Annotated[
    Annotated[float, Field(ge=-1, le=0), REAL],
    WrapValidator(_or_off),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": -1, "maximum": 0}, {"enum": [OFF, False]}]}
    ),
]
GuardedMeasure = Annotated[Measure, PlainValidator(_measure), _MEASURE_SCHEMA]
