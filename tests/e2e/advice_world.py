"""A user's folder in which an error is provoked, its advice followed, and the error looked for."""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedsweep.core.errors import Fault, UserError
from embedsweep.core.trial import TrialFailure
from tests.e2e.advice_inventory import pattern
from tests.e2e.conftest import alone
from tests.e2e.small_project import GOOD, LABELLED, PAIRS, outcome, rows, write

_ERROR = re.compile(
    r"^error: (?P<what>.*?) in (?P<where>.*?)(?::(?P<line>\d+))?(?:: (?P<why>.*))?\. "
    r"Fix: (?P<fix>.*)$",
    re.MULTILINE,
)
_STEP = re.compile(r"[^.\[\]]+")
EXPERIMENT = "mine.yaml"
UNSEEN = [
    {"text": f"unseen text {i} of {i % 3}", "metadata": {"label": f"class {i % 3}"}}
    for i in range(30)
]


@dataclass
class World:
    """The folder, and what the user types in it.

    Attributes:
        folder: The current directory.
        patch: Sets environment variables; undone after the test.
        words: The command line.
        typed: Standard input.
        values: What a port is called with, where no command reaches the error.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    words: list[str] = field(default_factory=lambda: ["check", EXPERIMENT])
    typed: str = ""
    values: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str = EXPERIMENT) -> Path:
        return self.folder / name

    def replace(self, old: str, new: str, name: str = EXPERIMENT) -> None:
        content = self.path(name).read_text(encoding="utf-8")
        assert old in content
        self.path(name).write_text(content.replace(old, new), encoding="utf-8")

    def put(self, place: str, value: object) -> None:
        """Write the value into the experiment file at a dotted place."""
        document, steps = self._document(), _steps(place)
        section = _section(document, steps)
        section[steps[-1]] = value
        self._save(document)

    def drop(self, place: str) -> None:
        document, steps = self._document(), _steps(place)
        del _section(document, steps)[steps[-1]]
        self._save(document)

    def at(self, place: str) -> Any:
        steps = _steps(place)
        return _section(self._document(), steps)[steps[-1]]

    def _document(self) -> dict[str, Any]:
        document = yaml.safe_load(self.path().read_text(encoding="utf-8"))
        assert isinstance(document, dict)
        return document

    def _save(self, document: dict[str, Any]) -> None:
        write(self.path(), yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


@dataclass(frozen=True)
class Ended:
    """What a command or a port came to."""

    code: int
    faults: list[Fault]
    err: str = ""


Step = Callable[[World], object]
Follower = Callable[[World, Fault], object]


@dataclass(frozen=True)
class Row:
    """An advice, how to get it, and how to follow it.

    Attributes:
        advice: As `advice_inventory` writes it.
        broken: Brings the error about.
        follow: Does what the advice says; None where `advice_followers` can tell from its text.
        call: The port to call, where no command line reaches the error.
        code: What the command ends with once the advice is followed.
        slow: Whether a sweep runs in between.
    """

    advice: str
    broken: Step
    follow: Follower | None = None
    call: Step | None = None
    code: int = 0
    slow: bool = False

    def run(self, world: World) -> Ended:
        return _called(self.call, world) if self.call else _typed(world)

    def fault(self, ended: Ended) -> Fault | None:
        """The error that gives this advice, if it is among those of the run."""
        wanted = pattern(self.advice)
        return next((fault for fault in ended.faults if wanted.fullmatch(fault.fix)), None)


def _typed(world: World) -> Ended:
    out, err = StringIO(), StringIO()
    world.patch.setattr("sys.stdin", StringIO(world.typed))
    with redirect_stdout(out), redirect_stderr(err):
        code = outcome(*world.words)
    return Ended(code, _faults(err.getvalue()), err.getvalue())


def _called(port: Step, world: World) -> Ended:
    try:
        port(world)
    except UserError as error:
        return Ended(error.exit_code, list(error.faults), str(error))
    except TrialFailure as failure:
        return Ended(1, [], str(failure))
    return Ended(0, [])


def _faults(text: str) -> list[Fault]:
    return [
        Fault(
            found["what"],
            found["where"],
            found["why"] or "",
            found["fix"],
            int(found["line"]) if found["line"] else None,
        )
        for found in _ERROR.finditer(text)
    ]


def _steps(place: str) -> list[Any]:
    """``search.arms[0].loss`` and ``search.arms.0.loss`` alike; a cut, as of mrr@10, has no dot."""
    return [int(step) if step.isdigit() else step for step in _STEP.findall(place)]


def _section(document: Any, steps: list[Any]) -> Any:
    for step in steps[:-1]:
        document = document[step]
    return document


# How to bring errors about.


def put(place: str, value: object) -> Step:
    return lambda world: world.put(place, value)


def drop(place: str) -> Step:
    return lambda world: world.drop(place)


def swap(old: str, new: str, name: str = EXPERIMENT) -> Step:
    return lambda world: world.replace(old, new, name)


def file(name: str, content: str | bytes) -> Step:
    return lambda world: write(world.path(name), content)


def type_(line: str) -> Step:
    def typed(world: World) -> None:
        world.words = shlex.split(line)

    return typed


def environ(name: str, value: str) -> Step:
    return lambda world: world.patch.setenv(name, value)


def steps(*parts: Step) -> Step:
    def all_of_them(world: World) -> None:
        for part in parts:
            part(world)

    return all_of_them


def sound(world: World) -> None:
    """The small project, which has nothing wrong with it."""
    write(world.path(), GOOD)
    write(world.path("train.jsonl"), rows(LABELLED))


def pairs(world: World) -> None:
    """The small project on pairs."""
    write(world.path("train.jsonl"), rows(PAIRS))
    world.put("objective", "mrr@10")
    world.put("search.arms.0.loss", ["multiple_negatives_ranking"])


# How to follow an advice that its text alone does not tell how to follow.


def then(step: Step) -> Follower:
    """Do a step, whatever the error's details."""
    return lambda world, fault: step(world)


def remove_row(world: World, fault: Fault) -> None:
    """Remove the row that the error names by file and line."""
    assert fault.line is not None
    path = world.path(fault.where)
    lines = path.read_text(encoding="utf-8").split("\n")
    del lines[fault.line - 1]
    path.write_text("\n".join(lines), encoding="utf-8")


# Stores, each made once for all rows.


@cache
def _made(*commands: str) -> Path:
    """A folder in which the commands were run one after another."""
    folder = Path(tempfile.mkdtemp(prefix="advice-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        alone(patch, folder)
        world = World(folder, patch)
        sound(world)
        quick(world)
        for command in commands:
            world.words = shlex.split(command)
            ended = _typed(world)
            assert ended.code in (0, 5), ended.err  # 5: the candidate is as good as the champion
    return folder


def quick(world: World) -> None:
    """Train heads, which takes a second."""
    for key, value in (("backend", "adapter"), ("epochs", 2)):
        world.put(f"search.arms.0.{key}", value)
    world.put("search.arms.0.learning_rate", {"low": 1e-3, "high": 1e-2})


def stores(world: World) -> None:
    """Stores with nothing in them."""
    _copy(_made("doctor"), world)


def swept(world: World) -> None:
    """Stores with a sweep of `quick`, and the untuned model as the champion of ``mine``."""
    quick(world)
    as_swept(world)


def as_swept(world: World) -> None:
    """The stores again as they were after the sweep."""
    _copy(_made(f"sweep {EXPERIMENT}"), world)


def _copy(made: Path, world: World) -> None:
    """The stores as if they had been made in the world's folder: MLflow keeps paths absolute."""
    home = world.path("mlruns")
    for folder in (made / "mlruns").iterdir():
        if folder.is_dir():
            shutil.rmtree(home / folder.name, ignore_errors=True)
            # Links take no time; what rows change they write anew.
            shutil.copytree(folder, home / folder.name, copy_function=os.link)
    for name in ("mlflow.db", "study.db"):
        # Into the database that is there: MLflow keeps connections to it.
        if (made / "mlruns" / name).exists():
            source = sqlite3.connect(made / "mlruns" / name)
            home.mkdir(exist_ok=True)
            with closing(source), closing(sqlite3.connect(home / name)) as target:
                source.backup(target)
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
            ("model_versions", "storage_location"),
        ):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(change, (str(made), str(world.folder)))


def a_port(world: World) -> int:
    """A port that another program listens on until the test ends."""
    taken = socket.create_server(("127.0.0.1", 0))
    world.values["taken"] = taken
    return int(taken.getsockname()[1])
