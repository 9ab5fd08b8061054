"""Every piece of advice in the source, read from its syntax: the texts that follow ``Fix:``.

Run as a module it prints them with their places: ``python -m tests.e2e.advice_inventory``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path

import embedsweep
from embedsweep.cli.commands import PLACEHOLDER

SOURCE = Path(embedsweep.__file__).parent
PART = "{…}"
"""Stands for each part of a text that is filled in at run time."""

FIX = "fix"
LABEL = "Fix: "
ERRORS = ("UserError", "UsageError", "DataError", "StoreError", "Refusal", "Fault")
WHY_AND_FIX = {"refused": 1, "ValueError": 1}
"""Callables that take (why, fix), and the place of the fix."""

Function = ast.FunctionDef
Scopes = list[ast.AST]


class Unreadable(AssertionError):
    """The fix is written in a way that this module cannot follow."""


@cache
def inventory() -> Mapping[str, tuple[str, ...]]:
    """The places (``file:line``) of each advice, by its text with `PART` for what varies."""
    found: dict[str, list[str]] = defaultdict(list)
    source = _Source()
    for module in source.modules:
        for line, text in module.advice():
            found[text].append(f"{module.path.relative_to(SOURCE)}:{line}")
    return {text: tuple(places) for text, places in sorted(found.items())}


def pattern(advice: str) -> re.Pattern[str]:
    """What matches the advice with its parts filled in, the experiment's file among them."""
    parts = re.split(f"{PART}|{PLACEHOLDER}", advice)
    return re.compile(".+".join(map(re.escape, parts)), re.DOTALL)


class _Source:
    """All modules of the package, and which of their functions take a fix."""

    def __init__(self) -> None:
        self.modules = [_Module(self, path) for path in sorted(SOURCE.rglob("*.py"))]
        self.makers: dict[str, int] = dict.fromkeys(ERRORS, 3) | WHY_AND_FIX
        self.functions: dict[str, list[tuple[_Module, Function]]] = defaultdict(list)
        for module in self.modules:
            for node in ast.walk(module.tree):
                if isinstance(node, ast.ClassDef) and _has_fix_second(node):
                    self.makers[node.name] = 1
                if isinstance(node, ast.FunctionDef):
                    self.functions[node.name].append((module, node))
                    names = _parameters(node)
                    if FIX in names and node.name != "__init__":
                        self.makers[node.name] = names.index(FIX)
                if isinstance(node, ast.ClassDef):
                    for base in _bases(node) & self.makers.keys():
                        self.makers.setdefault(node.name, self.makers[base])

    def constant(self, name: str) -> Iterator[ast.expr]:
        """What modules assign to the name at their top."""
        for module in self.modules:
            yield from (value for value, _ in _assigned(module.tree, name))


class _Module:
    def __init__(self, source: _Source, path: Path) -> None:
        self.source = source
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def advice(self) -> Iterator[tuple[int, str]]:
        """Line and text of every advice; raises `Unreadable` for one that hides its text."""
        for scopes, node in _walk(self.tree, [self.tree]):
            if isinstance(node, ast.Call):
                for text in self._of_call(node, scopes):
                    yield node.lineno, text
            if isinstance(node, ast.JoinedStr | ast.Constant):
                for text in self._of_line(node, scopes):
                    yield node.lineno, text

    def _of_call(self, call: ast.Call, scopes: Scopes) -> set[str]:
        place = self.source.makers.get(_name(call.func))
        if place is None or _is_set(call.func):
            return set()
        for keyword in call.keywords:
            if keyword.arg == FIX:
                return self._texts(keyword.value, scopes)
        for index, argument in enumerate(call.args[: place + 1]):
            if isinstance(argument, ast.Starred):
                return self._texts(argument.value, scopes, place - index)
        return self._texts(call.args[place], scopes) if len(call.args) > place else set()

    def _of_line(self, node: ast.expr, scopes: Scopes) -> set[str]:
        """Of a line that is written as it will be shown."""
        text = _plain(node)
        if text is None or LABEL not in text:
            return set()
        fix = text.split(LABEL)[1].strip()
        if fix != PART:
            return {fix}
        last = [part for part in ast.walk(node) if isinstance(part, ast.FormattedValue)][-1]
        return self._texts(last.value, scopes)

    def _texts(self, node: ast.expr, scopes: Scopes, item: int | None = None) -> set[str]:
        """What the expression, or its item at a place, may be; empty if it comes from a caller."""
        match node:
            case ast.Tuple() | ast.List() if item is not None:
                return self._texts(node.elts[item], scopes)
            case ast.Constant() | ast.JoinedStr() if (text := _plain(node)) is not None:
                return {text}
            case ast.BinOp(op=ast.Add()):
                parts = (self._texts(node.left, scopes), self._texts(node.right, scopes))
                return {"".join(pair) for pair in product(*parts)}
            case ast.IfExp():
                return self._texts(node.body, scopes, item) | self._texts(node.orelse, scopes, item)
            case ast.Dict():
                return set().union(*(self._texts(each, scopes, item) for each in node.values))
            case ast.Name():
                return self._of_name(node.id, scopes, item)
            case ast.Call():
                return self._of_result(node, scopes, item)
            case ast.Attribute() | ast.Subscript() | ast.Constant(value=None):
                return set()  # none, or that of an error that was made elsewhere
        raise Unreadable(f"{self.path}:{node.lineno}: {ast.unparse(node)}")

    def _of_name(self, name: str, scopes: Scopes, item: int | None) -> set[str]:
        for depth in range(len(scopes), 0, -1):
            scope, around = scopes[depth - 1], scopes[:depth]
            values = list(_assigned(scope, name))
            if values:
                pairs = ((value, place if item is None else item) for value, place in values)
                return set().union(*(self._texts(value, around, at) for value, at in pairs))
            if isinstance(scope, ast.FunctionDef) and name in _parameters(scope):
                return set()
        for value in self.source.constant(name):
            return self._texts(value, [self.tree], item)
        raise Unreadable(f"{self.path}: {name}")

    def _of_result(self, call: ast.Call, scopes: Scopes, item: int | None) -> set[str]:
        function = call.func
        if isinstance(function, ast.Attribute) and function.attr == "format":
            texts = self._texts(function.value, scopes, item)
            return {re.sub(r"\{\w+\}", PART, text) for text in texts}
        if isinstance(function, ast.Attribute) and function.attr == "get":
            default = self._texts(call.args[1], scopes, item)
            return default | self._texts(function.value, scopes, item)
        if isinstance(function, ast.Attribute) and function.attr == "join":
            joined = _name(call.args[0])
            return set().union(
                *(self._texts(value, scopes) for value in _appended(scopes[-1], joined))
            )
        found = self.source.functions.get(_name(function), [])
        own = [each for each in found if each[0] is self] or found
        results: set[str] = set()
        for module, definition in own:
            for node in ast.walk(definition):
                if isinstance(node, ast.Return) and node.value is not None:
                    results |= module._texts(node.value, [module.tree, definition], item)
        if not own:
            raise Unreadable(f"{self.path}:{call.lineno}: {ast.unparse(call)}")
        return results


def _walk(node: ast.AST, scopes: Scopes) -> Iterator[tuple[Scopes, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        yield scopes, child
        if not isinstance(child, ast.JoinedStr):
            inside = [*scopes, child] if isinstance(child, ast.FunctionDef) else scopes
            yield from _walk(child, inside)


def _plain(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(PART if isinstance(v, ast.FormattedValue) else str(v.value) for v in node.values)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _parameters(function: Function) -> list[str]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    names = names[1:] if names[:1] in (["self"], ["cls"]) else names
    return names + [argument.arg for argument in function.args.kwonlyargs]


def _bases(node: ast.ClassDef) -> set[str]:
    return {_name(base) for base in node.bases}


def _is_set(function: ast.expr) -> bool:
    """Whether an ``add`` is a set's and not a `FaultLog`'s."""
    is_add = isinstance(function, ast.Attribute) and function.attr == "add"
    return is_add and "faults" not in _name(function.value)


def _has_fix_second(node: ast.ClassDef) -> bool:
    """Whether the class is made with (why, fix), by its own code or from its fields."""
    made = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    if any(each.name == "__init__" and _parameters(each) == ["why", FIX] for each in made):
        return True
    fields = [_name(each.target) for each in node.body if isinstance(each, ast.AnnAssign)]
    return fields[1:2] == [FIX]


def _assigned(scope: ast.AST, name: str) -> Iterator[tuple[ast.expr, int | None]]:
    """What the scope assigns to the name, and which item of it if the name is one of several."""
    nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
    for node in nodes:
        of_one = isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None
        if of_one and _name(node.target) == name:
            yield node.value, None
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if _name(target) == name:
                yield node.value, None
            names = [_name(each) for each in getattr(target, "elts", ())]
            if name in names:
                yield node.value, names.index(name)


def _appended(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr="append")):
                if found == name:
                    yield node.args[0]


if __name__ == "__main__":
    for advice, where in inventory().items():
        sys.stdout.write(f"{advice}\n    {', '.join(where)}\n")
    places = sum(map(len, inventory().values()))
    sys.stdout.write(f"{len(inventory())} pieces of advice in {places} places\n")
