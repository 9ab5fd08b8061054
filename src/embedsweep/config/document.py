"""A YAML file as plain values that still know their lines.

The scalars follow YAML 1.2's core schema, as editors do: ``1e-5`` is a number, ``no`` is text, and
a date is text. Nothing is ever constructed from a tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from embedsweep.config.reading import read_text
from embedsweep.core.errors import Fault, UsageError

FieldPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document down to a value."""

KIND = "experiment file"
MAX_NODES = 10_000
MAX_DEPTH = 20

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+")
_REAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class _CoreSchemaLoader(yaml.SafeLoader):
    """Composes nodes only; `yaml_implicit_resolvers` are those of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - the library's own attribute, as it declares it


for _name, _pattern, _first in (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")),
    ("int", re.compile(_INTEGER.pattern + r"\Z"), list("-+0123456789")),
    ("float", re.compile(_REAL.pattern + r"\Z"), list("-+.0123456789")),
    ("float", re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"), list("-+.")),
):
    _CoreSchemaLoader.add_implicit_resolver(_TAG + _name, _pattern, _first)


def parse_number(text: str) -> int | float | None:
    """The number a text writes out, or None; infinities and NaN are no numbers."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else None


def dotted(path: FieldPath) -> str:
    """``search.arms[0].epochs``; empty for the document itself. Always printable."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{_printable(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def _printable(key: str) -> str:
    return key if key.isprintable() and 0 < len(key) <= 60 else repr(key[:60])


@dataclass(frozen=True)
class Document:
    """What a file holds, and what was wrong with it as a document.

    Attributes:
        path: The file.
        text: Its content.
        tree: Its top-level mapping, of plain dicts, lists and scalars.
        lines: 1-based line by field path, of the key or of the list item.
        faults: Duplicate keys, tags and the like.
        unread: Field paths whose value was not taken because of such a fault.
    """

    path: Path
    text: str
    tree: Mapping[str, Any]
    lines: Mapping[FieldPath, int]
    faults: tuple[Fault, ...]
    unread: frozenset[FieldPath]


def read_document(path: Path) -> Document:
    """Read a YAML file whose top is a mapping.

    Raises:
        UsageError: The file cannot be read, is no YAML, is empty, or its top is no mapping.
    """
    where = str(path)
    text = read_text(path, KIND)
    try:
        root = yaml.compose(text, Loader=_CoreSchemaLoader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(where, error) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        why = f"character U+{ord(text[error.position]):04X} may not stand in YAML"
        raise UsageError("YAML", where, why, "remove the character", line) from None
    except RecursionError:
        raise UsageError("YAML", where, "it is nested too deeply", "flatten it") from None
    if root is None:
        fix = "describe an experiment: name, data, objective and search"
        raise UsageError(KIND, where, "the file is empty", fix)
    if not isinstance(root, yaml.MappingNode):
        why = f"its top level is {_kind(root)}, expected keys such as name and data"
        fix = "write `name: ...` and the other keys at the top level"
        raise UsageError(KIND, where, why, fix, root.start_mark.line + 1)
    reading = _Reading(where)
    tree = reading.value(root, ())
    faults, unread = tuple(reading.faults), frozenset(reading.unread)
    return Document(path, text, tree, reading.lines, faults, unread)


def _syntax_error(where: str, error: yaml.MarkedYAMLError) -> UsageError:
    mark = error.problem_mark or error.context_mark
    problem = ", ".join(filter(None, (error.context, error.problem)))
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    fix = "mend it there; put text that holds ': ' or ' #' in quotes"
    if "'\\t'" in problem:
        problem, fix = "a tab stands where YAML takes only spaces", "indent with spaces"
    return UsageError("YAML syntax", where, f"at {line}:{column}, {problem}", fix, line)


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a single value"


_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": int,
    _TAG + "float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    _TAG + "str": str,
}


@dataclass
class _Reading:
    """One pass from nodes to values."""

    where: str
    lines: dict[FieldPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unread: set[FieldPath] = field(default_factory=set)
    nodes: int = 0

    def value(self, node: yaml.Node, path: FieldPath) -> Any:  # noqa: ANN401 - YAML holds anything
        self.nodes += 1
        self.lines.setdefault(path, node.start_mark.line + 1)
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            # Also what an alias that holds itself, or aliases of aliases of aliases, run into.
            why = f"it holds more than {MAX_NODES} values or {MAX_DEPTH} levels, aliases followed"
            raise UsageError(KIND, self.where, why, "write it shorter, without nested aliases")
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, place)) for place, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        tag = node.tag.replace(_TAG, "!!")
        why = f"{tag} is no plain value; tags that build objects are never followed"
        return self._refuse(node, path, f"tag {tag}", why, "remove the tag and write the value")

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        first: dict[str, str] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _SCALARS:
                why = f"a key is {_kind(key_node)}, expected a plain word"
                self._refuse(key_node, path, "key", why, "write `key: value`", skip=False)
                continue
            key, mark = key_node.value, key_node.start_mark
            place = f"{mark.line + 1}:{mark.column + 1}"
            if key in first:
                why = f"it stands at {first[key]} and again at {place} (line:column)"
                what = f"duplicate key {dotted((*path, key))}"
                self._refuse(key_node, path, what, why, "remove one of the two", skip=False)
                continue
            first[key] = place
            self.lines[(*path, key)] = mark.line + 1
            values[key] = self.value(value_node, (*path, key))
        return values

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> Any:  # noqa: ANN401 - as above
        try:
            node.value.encode("utf-8")
            if "\0" not in node.value:
                return _SCALARS[node.tag](node.value)
            why = "the text holds a NUL character"
        except UnicodeEncodeError:
            why = "the text holds half of a surrogate pair"
        except (ValueError, KeyError):
            why = f"{node.value[:40]!r} does not fit its tag {node.tag.replace(_TAG, '!!')}"
        return self._refuse(node, path, dotted(path) or "value", why, "write a plain value")

    def _refuse(
        self, node: yaml.Node, path: FieldPath, what: str, why: str, fix: str, *, skip: bool = True
    ) -> None:
        self.faults.append(Fault(what, self.where, why, fix, node.start_mark.line + 1))
        if skip:
            self.unread.add(path)
