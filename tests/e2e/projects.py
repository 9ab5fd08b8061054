"""A user's folder, and the commands run in it as processes of their own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from openai import OpenAI

from embedsweep.cli import main
from embedsweep.config import StoreLocations
from embedsweep.stores.connection import open_client

PATIENCE = 500
BASE = "all-MiniLM-L6-v2"
NOT_INHERITED = ("EMBEDSWEEP_", "MLFLOW_", "OPENAI_")


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Project:
    """A folder with an experiment and stores of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.home = folder / "mlruns"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)},
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",  # on so little data threads wait for each other
            **environment,
        }

    def with_stores(self) -> Project:
        """With empty stores, made once for all tests: MLflow takes seconds for its tables."""
        shutil.copytree(_empty_stores(), self.home)
        return self

    def write_rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / name).write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """The command, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "embedsweep", *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> Ended:
        ended = ended_of(self.start(*words))
        assert ended.code == code, ended.err
        assert "Traceback" not in ended.err
        return ended

    def call(self, *words: str, code: int | Container[int] = 0) -> Ended:
        """The command in this process, where the libraries are loaded already."""
        out, err = StringIO(), StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(self.folder)
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            ended = Ended(main(words), out.getvalue(), err.getvalue())
        expected = (code,) if isinstance(code, int) else code
        assert ended.code in expected, ended.err
        assert "Traceback" not in ended.err
        return ended

    def embed(self, reference: str, text: str) -> list[float]:
        """The vector that `embedsweep embed` gives."""
        told = subprocess.run(
            [sys.executable, "-m", "embedsweep", "embed", reference],
            input=f"{text}\n",
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            check=True,
        )
        vector: list[float] = json.loads(told.stdout)
        return vector

    def runs(self, experiment: str, where: str = "", kind: str = "trial") -> list[Run]:
        """The experiment's runs of a kind; trials and baselines are of one."""
        client = MlflowClient(f"sqlite:///{self.home}/mlflow.db")
        found = client.get_experiment_by_name(experiment)
        assert found is not None
        ours = f"tags.`embedsweep.kind` = '{kind}'"
        wanted = f"{ours} and {where}" if where else ours
        return list(client.search_runs([found.experiment_id], wanted))

    @contextmanager
    def served(self, *words: str, key: str = "none") -> Iterator[OpenAI]:
        """The stock client of `embedsweep serve` on a free port, while the context lasts."""
        process = self.start("serve", *words, "--port", "0")
        try:
            line = said(process, lambda line: line.startswith("serving "))
            with OpenAI(
                base_url=line.split(" on ")[1].strip(), api_key=key, max_retries=0
            ) as client:
                yield client
        finally:
            process.terminate()
            ended = ended_of(process)
        assert ended.code == 0, ended.err


@cache
def _empty_stores() -> Path:
    home = Path(tempfile.mkdtemp(prefix="stores-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    tracking, study = f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/study.db"
    open_client(StoreLocations(tracking, str(home / "artifacts"), study, home))
    return home


def said(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> str:
    """The next line on stderr that is the one."""
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if is_it(line):
            return line
    raise AssertionError("".join(before))


def until(is_so: Callable[[], object]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def running(project: Project, experiment: str) -> None:
    """Wait until a trial of the experiment is running."""
    until(lambda: any(run.info.status == "RUNNING" for run in project.runs(experiment)))


def submitted(project: Project) -> bool:
    """Whether a job of the project is at its provider."""
    jobs = project.call("jobs", "--json").document
    return any(job["state"] == "submitted" for job in jobs)


def ended_of(process: subprocess.Popen[str]) -> Ended:
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it did not end: {err}") from None
    return Ended(process.returncode, out, err)


def members(session: int) -> list[int]:
    """The live processes of a session (proc(5): state is the third field, session the sixth)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def trials_by_arm(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A leaderboard's completed trials, the best of each arm."""
    completed = [trial for trial in document["trials"] if trial["state"] == "completed"]
    return {trial["arm"]: trial for trial in reversed(completed)}


PAIRS = [
    {"anchor": f"how do I {verb} a {noun}?", "positive": f"{noun}.{verb}() will {verb} it"}
    for verb in ("open", "close", "sort", "copy", "merge", "print")
    for noun in ("file", "list", "table", "window", "picture", "graph", "book", "song")
]
