"""Docstrings of the running Python's standard library, read from source and never imported."""

from __future__ import annotations

import ast
import os
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedsweep.core.collection import uncollected

_SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "turtledemo"}
    | {"__pycache__", "_bundled", "pydoc_data"}
)
_PYTHON_TWIN = "_py"
"""``_pydecimal`` is ``decimal`` written in Python; other private modules are left out."""

MIN_SUMMARY_WORDS = 3
MAX_SUMMARY_CHARACTERS = 200
MIN_REST_CHARACTERS = 40

_NAMED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BLOCKS = ("finalbody", "orelse", "body")
"""Where a statement has statements of its own, the last in the source first."""

_SIGNATURE = re.compile(r"[\w.*, ]+\(.*\)(\s*(->|=>).*)?")
_POINTER = re.compile(r"(see|same as|like|alias|deprecated)\b|[>*+:-]", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")
_BLANK_LINE = re.compile(r"\n\s*\n")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`])")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in two parts.

    Attributes:
        module: Such as ``email.message``; a package by its own name.
        name: Qualified name within the module.
        summary: What it says first, on one line.
        rest: All that follows, on one line.
    """

    module: str
    name: str
    summary: str
    rest: str

    @property
    def package(self) -> str:
        """The top-level module."""
        return self.module.partition(".")[0]

    @property
    def root(self) -> str:
        """The top-level class or function it belongs to."""
        return f"{self.module}:{self.name.partition('.')[0]}"


def standard_library_docstrings() -> list[Docstring]:
    """Every usable docstring of a class, function or method, in the order of the sources."""
    library = Path(sysconfig.get_path("stdlib"))
    found = []
    with uncollected():
        for path in _sources(library):
            module = _module(path.relative_to(library))
            if module is not None:
                for name, text in _documented(path):
                    parts = split_docstring(text)
                    if parts is not None:
                        found.append(Docstring(module, name, *parts))
    return found


def split_docstring(text: str) -> tuple[str, str] | None:
    """Summary and rest, each with its blanks collapsed; None if it does not make a good pair.

    The summary is the first paragraph or, if that is long or all there is, its first sentence.
    None when the summary has under three words, or is a signature or a pointer elsewhere, and
    when the rest is under 40 characters.
    """
    first, *others = _BLANK_LINE.split(text.strip(), maxsplit=1)
    summary, rest = " ".join(first.split()), " ".join(" ".join(others).split())
    if not rest or len(summary) > MAX_SUMMARY_CHARACTERS:
        summary, *more = _SENTENCE_END.split(summary, maxsplit=1)
        rest = " ".join([*more, rest]).strip()
    usable = (
        len(summary) <= MAX_SUMMARY_CHARACTERS
        and len(_WORD.findall(summary)) >= MIN_SUMMARY_WORDS
        and len(rest) >= MIN_REST_CHARACTERS
        and not _SIGNATURE.fullmatch(summary)
        and not _POINTER.match(summary)
    )
    return (summary, rest) if usable else None


def _sources(library: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for file in sorted(files):
            if file.endswith(".py"):
                yield Path(folder, file)


def _module(path: Path) -> str | None:
    """The module's name; None where a part of it is private."""
    parts = list(path.with_suffix("").parts)
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    parts = [part.removeprefix(_PYTHON_TWIN) for part in parts]
    return None if any(part.startswith("_") for part in parts) else ".".join(parts)


def _documented(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, docstring), outer before inner; nothing if it is no valid source."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own source has outdated escapes
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # code for another version of Python, kept as a sample
            return
    pending: list[tuple[ast.AST, str]] = [(tree, "")]
    while pending:
        node, name = pending.pop()
        if isinstance(node, _NAMED):
            text = ast.get_docstring(node)
            if text:
                yield name, text
        for block in _BLOCKS:
            for child in reversed(getattr(node, block, ())):
                inner = f"{name}.{child.name}".lstrip(".") if isinstance(child, _NAMED) else name
                pending.append((child, inner))
