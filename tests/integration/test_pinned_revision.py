"""A base model of the hub, pinned by `revision`: read from the hub's cache, without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from embedsweep.backends.local import base_models
from embedsweep.backends.local.base_models import base_folder, base_model_digest
from embedsweep.config import load_experiment
from embedsweep.core.errors import StoreError, UsageError
from embedsweep.core.recipe import (
    Base,
    LocalRecipe,
    Loss,
    recipe_as_dict,
    recipe_fingerprint,
    recipe_from_dict,
)
from embedsweep.wiring.provenance import _revision
from tests.integration.tiny_architectures import make_model

NAME = "owner/name"
OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in the hub's layout with two commits: a tag and a branch point to them."""
    cache = tmp_path / "hub"
    repository = cache / "models--owner--name"
    for commit, kind in ((OLD, "BERT"), (NEW, "no pooling module")):
        shutil.copytree(make_model(kind, tmp_path / kind), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(NEW)
    (repository / "refs" / "v1").write_text(OLD)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    base_models.base_folder.cache_clear()
    base_models.base_model_digest.cache_clear()
    return cache


def test_a_commit_or_a_tag_is_taken_and_else_the_newest_commit(hub: Path) -> None:
    assert base_folder(NAME).name == NEW
    assert base_folder(NAME, OLD).name == OLD
    assert base_folder(NAME, "v1").name == OLD
    assert base_model_digest(NAME, "v1") == base_model_digest(NAME, OLD) != base_model_digest(NAME)
    assert _revision(Base(NAME, revision="v1")) == {"commit": OLD}


def test_a_revision_that_is_not_there_is_named(hub: Path) -> None:
    with pytest.raises(StoreError, match=r"'owner/name' at revision 'v9'.*remove revision and use"):
        base_folder(NAME, "v9")


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model is a folder"):
        base_folder(str(tmp_path), "v1")


def test_a_process_reads_the_cache_that_hf_home_names(hub: Path, tmp_path: Path) -> None:
    code = "from embedsweep.backends.local.base_models import base_folder as f; import sys; "
    code += "print(f(*sys.argv[1:]).name)"
    told = subprocess.run(
        [sys.executable, "-c", code, NAME, "v1"],
        env={"HF_HOME": str(hub.parent), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == OLD


def recipe(revision: str | None) -> LocalRecipe:
    return LocalRecipe(
        base_model=NAME,
        loss=Loss.TRIPLET,
        epochs=1,
        learning_rate=1e-4,
        batch_size=8,
        seed=1,
        revision=revision,
    )


def test_the_revision_is_a_part_of_the_recipe_and_of_its_identity() -> None:
    assert recipe("v1").base == Base(NAME, revision="v1")
    assert str(recipe("v1").base) == "owner/name@v1"
    assert recipe_as_dict(recipe("v1"))["revision"] == "v1"
    assert recipe_from_dict(recipe_as_dict(recipe("v1"))) == recipe("v1")
    assert "revision" not in recipe_as_dict(recipe(None))
    marks = {recipe_fingerprint(recipe(each)) for each in (None, "v1", "v2")}
    assert len(marks) == 3


def read(folder: Path, **arm: object) -> tuple[Base, ...]:
    arm = {"backend": "local", "base_model": NAME, "revision": "v1", **arm}
    path = folder / "e.yaml"
    experiment = {
        "name": "e",
        "data": {"builtin": "python-docs"},
        "objective": "ndcg@10",
        "search": {"trials": 1, "arms": [arm]},
    }
    path.write_text(yaml.safe_dump(experiment))
    return load_experiment(path).space.bases()


@pytest.mark.parametrize("arm", [{}, {"backend": "adapter"}, {"base_model": [NAME]}])
def test_an_arm_names_the_revision_of_its_model(arm: dict[str, object], tmp_path: Path) -> None:
    assert read(tmp_path, **arm) == (Base(NAME, revision="v1"),)


@pytest.mark.parametrize(
    ("arm", "why"),
    [
        ({"base_model": "mine"}, "only models on the Hugging Face hub have revisions"),
        ({"base_model": [NAME, "owner/other"]}, "it belongs to one model"),
        ({"backend": "adapter", "provider": "openai"}, "openai takes no revision"),
        ({"backend": "hosted", "provider": "openai"}, "unknown key"),
        ({"revision": ["v1", "v2"]}, "revision"),
    ],
)
def test_a_revision_that_means_nothing_is_rejected(
    arm: dict[str, object], why: str, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match=why):
        read(tmp_path, **arm)
