"""How a field of the experiment file says no: the error it raises, and what reading remembers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from embedsweep.config.reading import masked

SHOWN_LENGTH = 80
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}")


@dataclass
class Reading:
    """What one reading of a file needs beside the file; pydantic calls it the context.

    Attributes:
        folder: Absolute; relative paths start here.
        environ: Where ``${NAME}`` is looked up.
        grid: Whether the sampler, which stands before the arms, is the grid sampler.
        arm_names: The names given to arms so far.
        key_variables: By provider, the variable that an arm has named for its key.
    """

    folder: Path
    environ: Mapping[str, str]
    grid: bool = False
    arm_names: set[str] = field(default_factory=set)
    key_variables: dict[str, str] = field(default_factory=dict)


def refused(why: str, fix: str, **facts: Any) -> PydanticCustomError:  # noqa: ANN401 - as pydantic
    """A refusal in the words of `core.errors.Fault`.

    Args:
        why: The value seen against the value expected.
        fix: An imperative.
        facts: ``at``, a key below the field that is at fault; ``instead``, keys whose misspelling
            explains the fault.
    """
    return PydanticCustomError("refused", "{why}", {"why": why, "fix": fix, **facts})


def shown(value: object) -> str:
    """A value as it would stand in YAML, on one line, cut short, passwords masked."""
    if value is None:
        return "no value"
    text = masked(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 3] + "..."


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that was most likely meant; swapped letters count as the nearest slip."""
    word = word.lower()
    swapped = [other for other in known if sorted(other) == sorted(word)]
    return next(iter(swapped or get_close_matches(word, known, n=1, cutoff=0.6)), None)


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """The text with every ``${NAME}`` and ``${NAME:-default}`` replaced from the environment.

    A variable that is empty counts as not set, or ``${DATA}/x`` would mean ``/x``.

    Raises:
        ValueError: With (why, fix): a variable is not set and has no default, or a ``${`` opens
            nothing that can be read.
    """
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name, default = found.groups()
        if not environ.get(name) and default is None:
            missing.append(name)
        return environ.get(name) or default or ""

    result = _VARIABLE.sub(value, text)
    if missing:
        why = f"{shown(text)} needs {', '.join(missing)}, which the environment does not set"
        raise ValueError(why, f"set {missing[0]}, or write ${{{missing[0]}:-default}}")
    if "${" in _VARIABLE.sub("", text):
        why = f"{shown(text)} holds a '${{' that is no ${{NAME}} or ${{NAME:-default}}"
        raise ValueError(why, "close the brace, and name the variable in letters, digits and _")
    return result
