"""The house rules that no linter knows: sizes, names, and what may load when."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted((ROOT / "src" / "embedsweep").rglob("*.py"))
EVERYTHING = SOURCES + sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 6
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "handler", "wrapper"}
HEAVY = ("torch", "mlflow", "sentence_transformers", "transformers", "fastapi", "ray", "optuna")


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def too_long(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").count("\n")
    return [f"{path}: {lines} lines"] if lines > LONGEST_FILE else []


def unwieldy(path: Path) -> list[str]:
    found = []
    for function in functions(path):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in arguments)
        if length > LONGEST_FUNCTION or count > MOST_ARGUMENTS:
            found.append(f"{path}:{function.lineno} {function.name}: {length} lines, {count} args")
    return found


def test_files_and_functions_keep_to_their_budgets() -> None:
    assert len(SOURCES) > 40
    assert [line for path in EVERYTHING for line in too_long(path)] == []
    assert [line for path in SOURCES for line in unwieldy(path)] == []


def test_the_budgets_can_be_broken(tmp_path: Path) -> None:
    body = "\n".join(f"    x = {i}" for i in range(LONGEST_FUNCTION))
    (tmp_path / "long.py").write_text(f"def f():\n{body}\n" + "\n" * LONGEST_FILE)
    (tmp_path / "wide.py").write_text("def f(a, b, c, d, e, f, g): ...\n")
    assert too_long(tmp_path / "long.py")
    assert unwieldy(tmp_path / "long.py")
    assert unwieldy(tmp_path / "wide.py")


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in SOURCES if VAGUE & set(path.stem.split("_"))] == []


@pytest.mark.parametrize("statement", ["import embedsweep", "import embedsweep.cli.main"])
def test_the_front_door_is_light(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == "[]"


def test_lightness_can_be_lost() -> None:
    code = f"import optuna, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "optuna" in loaded


@pytest.mark.parametrize(
    ("opens", "place"),
    [
        (r"\.unseal\(", "src/embedsweep/workflows/promote.py"),
        (r"\.sealed_test\b", "src/embedsweep/core/dataset.py"),
    ],
)
def test_the_test_split_is_opened_by_promotion_alone(opens: str, place: str) -> None:
    callers = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if re.search(opens, path.read_text(encoding="utf-8"))
    ]
    assert callers == [place]
