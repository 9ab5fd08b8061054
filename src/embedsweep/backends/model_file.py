"""What a folder says of the model in it, where the model is more than weights.

A folder without the file holds a local model, whole. With it, the model is a head on a frozen base,
or a provider's model, and the file holds what finds it again. It never holds a key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from embedsweep.core.errors import DataError, Fault
from embedsweep.core.recipe import AdapterRecipe, Base, Head, HostedRecipe, LocalRecipe
from embedsweep.core.roles import Prompts, TextRole

MODEL_FILE = "embedsweep.json"
VERSION = 1
"""Of the file's form; raised when a reader of the old one would misread the new one."""

_FIX = "give a folder that embedsweep filled, or fetch the model from the registry again"


@dataclass(frozen=True)
class _Form:
    """What a field's value may be, in words and as a test."""

    words: str
    accepts: Callable[[object], bool]
    is_optional: bool = False

    def or_null(self) -> _Form:
        return _Form(f"{self.words} or null", lambda value: value is None or self.accepts(value))


_Fields = Mapping[str, _Form]

_TEXT = _Form("a text that is not empty", lambda value: isinstance(value, str) and value != "")
_COUNT = _Form(
    "a positive whole number",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value > 0,
)
_VARIABLE = _Form(
    "the name of a variable that holds a key, which ends in _KEY or _TOKEN",
    # Whoever can write the file says whom the variable's value is shown to: a key, and no more.
    lambda value: isinstance(value, str) and value.endswith(("_KEY", "_TOKEN")),
)
_OBJECT = _Form("an object", lambda value: isinstance(value, dict))
_HEAD = _Form(
    f"one of {[head.value for head in Head]}",
    lambda value: isinstance(value, str) and value in list(Head),
)

_PROMPTS = _Form(
    f"an object of texts by {[role.value for role in TextRole]}",
    lambda value: (
        isinstance(value, dict)
        and value.keys() <= set(TextRole)
        and all(isinstance(prompt, str) for prompt in value.values())
    ),
    is_optional=True,
)
_BASE: _Fields = {
    "model": _TEXT,
    "provider": _TEXT.or_null(),
    "dimensions": _COUNT.or_null(),
    "prompts": _PROMPTS,
    "revision": replace(_TEXT, is_optional=True),
}
_FIELDS: Mapping[str, _Fields] = {
    AdapterRecipe.kind: {
        "base": _OBJECT,
        "base_digest": _TEXT,
        "head": _HEAD,
        "width": _COUNT.or_null(),
        "dimension": _COUNT,
        "key_variable": _VARIABLE.or_null(),
    },
    HostedRecipe.kind: {
        "provider": _TEXT,
        "model": _TEXT,
        "dimensions": _COUNT.or_null(),
        "dimension": _COUNT,
        "base_model": _TEXT,
        "job_id": _TEXT.or_null(),
        "key_variable": _VARIABLE.or_null(),
        "prompts": _PROMPTS,
    },
}


def kind_of(folder: Path) -> str:
    """``local``, ``adapter`` or ``hosted``.

    Raises:
        DataError: The folder's model file is malformed.
    """
    if not (folder / MODEL_FILE).exists():
        return LocalRecipe.kind
    return str(read_model_file(folder)["kind"])


def read_model_file(folder: Path) -> dict[str, Any]:
    """What the file says.

    Returns:
        ``kind`` and ``version``; of an adapter ``base`` (``model``, ``provider``,
        ``dimensions``, ``prompts``), ``base_digest``, ``head``, ``width``, ``dimension`` and
        ``key_variable``; of a hosted model ``provider``, ``model``, ``dimensions``,
        ``dimension``, ``base_model``, ``job_id``, ``key_variable`` and ``prompts``. Every field is
        there and of its type; whole numbers are positive. ``prompts`` (text by role) is absent
        from a model without prompts of its own.

    Raises:
        DataError: The file is missing, is not JSON or does not say just this.
    """
    path = folder / MODEL_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, f"it is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise _unreadable(path, f"it holds {values!r:.80}, expected an object")
    _refuse_faults(values, path)
    return values


def write_model_file(folder: Path, values: Mapping[str, Any]) -> None:
    """Write the file into a folder, which is created if absent.

    Args:
        folder: The model's folder.
        values: As `read_model_file` returns them; ``version`` may be left out.

    Raises:
        DataError: The values would not be read back.
    """
    path = folder / MODEL_FILE
    whole = {"version": VERSION, **values}
    _refuse_faults(whole, path)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def base_values(base: Base) -> dict[str, Any]:
    """Return a base model as the file holds it."""
    prompts = base.prompts.as_dict() if base.prompts else None
    values = {**asdict(base), "prompts": prompts}
    return {
        name: value
        for name, value in values.items()
        if value is not None or not _BASE[name].is_optional
    }


def base_of(values: Mapping[str, Any]) -> Base:
    """Return the base model that `base_values` wrote."""
    prompts = values.get("prompts")
    return Base(**{**values, "prompts": Prompts(**prompts) if prompts else None})


def _refuse_faults(values: Mapping[str, Any], path: Path) -> None:
    faults = [Fault(what, str(path), why, _FIX) for what, why in _faults(values)]
    if faults:
        raise DataError.of(faults)


def _faults(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The fields at fault, each with the reason."""
    version, kind = values.get("version"), values.get("kind")
    if not _COUNT.accepts(version) or version != VERSION:
        yield "version", f"it is {version!r:.80}, expected {VERSION}"
    elif not isinstance(kind, str) or kind not in _FIELDS:
        yield "kind", f"it is {kind!r:.80}, expected one of {list(_FIELDS)}"
    else:
        rest = {name: value for name, value in values.items() if name not in ("version", "kind")}
        yield from _field_faults(rest, _FIELDS[kind])
        if _OBJECT.accepts(rest.get("base")):
            for name, why in _field_faults(rest["base"], _BASE):
                yield f"base.{name}", why


def _field_faults(values: Mapping[str, Any], fields: _Fields) -> Iterator[tuple[str, str]]:
    for name, form in fields.items():
        if name not in values and form.is_optional:
            continue
        if name not in values:
            yield name, f"it is missing, expected {form.words}"
        elif not form.accepts(values[name]):
            yield name, f"it is {values[name]!r:.80}, expected {form.words}"
    for name in sorted(values.keys() - fields.keys()):
        # Its value is not shown: it could be a secret that strayed in here.
        yield name, f"there is no such field, expected only {sorted(fields)}"


def _unreadable(path: Path, why: str) -> DataError:
    return DataError("model file", str(path), why, _FIX)
