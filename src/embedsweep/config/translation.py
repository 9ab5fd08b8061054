"""What pydantic found, said in our words: one table from its error types to sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embedsweep.config.arm_section import PromptsSection
from embedsweep.config.arms import ARM_KINDS, ARM_TAGS, kind_of_arm
from embedsweep.config.data_section import Columns, DataSection, SplitSection
from embedsweep.config.document import Document, FieldPath, dotted
from embedsweep.config.fields import RULES
from embedsweep.config.knobs import FORMS, Range, Section
from embedsweep.config.refusal import nearest, shown
from embedsweep.config.schema import (
    BudgetSection,
    ExperimentFile,
    FinalistsSection,
    PriceSection,
    PromotionSection,
    SearchSection,
)
from embedsweep.core.errors import Fault

SENTENCES: dict[str, tuple[str, str]] = {
    "missing": ("it is missing", "add it, such as `{example}`"),
    "enum": ("{seen} is unknown, expected {expected}", "write {nearest}"),
    "literal_error": ("{seen} is unknown, expected {expected}", "write {nearest}"),
    "string_type": ("{seen}, expected text", "write text; in quotes if it looks like a number"),
    "string_too_short": ("{seen}, expected some text", "write a name or remove the key"),
    "string_too_long": ("{seen} is longer than {max_length} characters", "write a shorter name"),
    "string_pattern_mismatch": ("{seen} is no name, expected {rule}", "write {rule}"),
    "bool_type": ("{seen}, expected true or false", "write true or false, without quotes"),
    "greater_than": ("{seen}, expected above {gt}", "write a number above {gt}"),
    "greater_than_equal": ("{seen}, expected at least {ge}", "write {ge} or more"),
    "less_than": ("{seen}, expected below {lt}", "write a number below {lt}"),
    "less_than_equal": ("{seen}, expected at most {le}", "write {le} or less"),
    "too_short": ("the list is empty, expected at least one value", "add a value to the list"),
    "list_type": ("{seen}, expected a list", "write a list, each item after a dash"),
    "dict_type": ("{seen}, expected keys with values", "write `key: value` lines below it"),
    "model_type": ("{seen}, expected keys with values", "write `key: value` lines below it"),
    "union_tag_invalid": (
        "{seen} is a range, expected one value or a list",
        "write one value or a list",
    ),
}
"""By pydantic's error type: why, and fix. Refusals of our own bring both along."""

EXAMPLES = {
    "name": "name: support-search",
    "data": "data: {builtin: python-docs}",
    "objective": "objective: ndcg@10",
    "search": "search: {trials: 24, arms: [{backend: local, base_model: all-MiniLM-L6-v2}]}",
    "trials": "trials: 24",
    "arms": "arms: [{backend: local, base_model: all-MiniLM-L6-v2}]",
    "backend": "backend: local",
    "base_model": "base_model: all-MiniLM-L6-v2",
    "low": "low: 1",
    "high": "high: 4",
}
"""By required key: a line that would be right."""

SECTIONS: dict[FieldPath, type[Section]] = {
    (): ExperimentFile,
    ("data",): DataSection,
    ("data", "split"): SplitSection,
    ("data", "columns"): Columns,
    ("search",): SearchSection,
    ("search", "finalists"): FinalistsSection,
    ("budget",): BudgetSection,
    ("prices", "*"): PriceSection,
    ("promotion",): PromotionSection,
}
"""By field path; arms are told apart by their kind, and any other mapping is a `Range`."""

COMMON_NAMES = {
    "lr": "learning_rate",
    "metric": "objective",
    "model": "base_model",
    "bs": "batch_size",
    "max_length": "train_tokens",
    "max_seq_length": "train_tokens",
    "temperature": "scale",
    "api_key": "api_key_env",
    "url": "base_url",
    "hidden": "width",
    "layers": "train_layers",
    "lora_r": "lora_rank",
    "r": "lora_rank",
    "rank": "width",
}
"""What other tools call our keys, too far from ours for their spelling to tell."""

ADVICE = {"direction": "remove it; of every measure here, higher is better"}
"""What to do about keys that other tools need and ours do not."""

_QUOTED = re.compile(r"'([^']*)'")


def faults_of(error: ValidationError, document: Document) -> Iterator[Fault]:
    """Every fault pydantic found, with its line in the document.

    Left out are those that follow from another: the missing key whose misspelling is reported
    anyway, and values the document refused to read.
    """
    rows = [(_located(detail, document), detail) for detail in error.errors(include_url=False)]
    meant = {
        (*path[:-1], key)
        for path, detail in rows
        if detail["type"] == "extra_forbidden" and (key := _meant(path, document))
    }
    for path, detail in rows:
        if any(path[: len(unread)] == unread for unread in document.unread):
            continue
        explained = {path} if detail["type"] == "missing" else set()
        explained |= {(*path[:-1], key) for key in detail.get("ctx", {}).get("instead", ())}
        if not explained & meant:
            yield _fault(path, detail, document)


def _located(detail: ErrorDetails, document: Document) -> FieldPath:
    """The error's field path: pydantic's place without the names of union members and marks."""
    node: Any = document.tree
    path: list[str | int] = []
    for step in detail["loc"]:
        inside = step in node if isinstance(node, dict) else isinstance(step, int)
        if inside:
            node = node[step]
        elif step in (*FORMS, *ARM_TAGS.values(), "[key]"):
            continue
        path.append(step)
    below = detail.get("ctx", {}).get("at")
    return (*path, below) if below else tuple(path)


def _fault(path: FieldPath, detail: ErrorDetails, document: Document) -> Fault:
    where, line = str(document.path), _line(path, document)
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path, document)
    context: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] == "refused":
        return Fault(dotted(path), where, context["why"], context["fix"], line)
    why, fix = SENTENCES.get(detail["type"], ("{seen}: {message}", "mend the value"))
    words = {
        **context,
        "seen": _seen(path, detail["input"], document),
        "message": detail["msg"],
        "rule": RULES.get(context.get("pattern", ""), ""),
        "example": EXAMPLES.get(str(path[-1]), f"{path[-1]}: ...") if path else "",
        "nearest": _nearest_option(detail["input"], context.get("expected", "")),
    }
    return Fault(dotted(path), where, why.format(**words), fix.format(**words), line)


def _line(path: FieldPath, document: Document) -> int:
    """The line of the field, or of the nearest thing around it that the file has."""
    while path not in document.lines:
        path = path[:-1]
    return document.lines[path]


def _seen(path: FieldPath, value: object, document: Document) -> str:
    """The value; a bound of a range is shown with its range."""
    if path[-1:] in (("low",), ("high",)):
        node: Any = document.tree
        for step in path[:-1]:
            node = node[step]
        return f"{shown(value)} in {shown(node)}"
    return shown(value)


def _nearest_option(value: object, expected: str) -> str:
    return nearest(str(value), _QUOTED.findall(expected)) or expected


def _known_keys(path: FieldPath, document: Document) -> Sequence[str]:
    """The keys of the section that a path's last step stands in."""
    match path[:-1]:
        case ("search", "arms", int(place)):
            arm = document.tree["search"]["arms"][place]
            section: type[Section] = ARM_KINDS[kind_of_arm(arm)]
        case ("search", "arms", _, "prompts"):
            section = PromptsSection
        case ("prices", _):
            section = SECTIONS["prices", "*"]
        case around:
            section = SECTIONS.get(around, Range)
    return list(section.model_fields)


def _meant(path: FieldPath, document: Document) -> str | None:
    word, known = str(path[-1]), _known_keys(path, document)
    common = COMMON_NAMES.get(word.lower())
    return common if common in known else nearest(word.replace("-", "_"), known)


def _unknown_key(path: FieldPath, document: Document) -> Fault:
    # The value is not shown: it may be a key to something.
    meant = _meant(path, document)
    fix = ADVICE.get(str(path[-1]), "remove it")
    if meant:
        fix = f"did you mean {meant}? Write {meant}"
    why = f"no such key here, expected {', '.join(_known_keys(path, document))}"
    return Fault(f"unknown key {dotted(path)}", str(document.path), why, fix, _line(path, document))
