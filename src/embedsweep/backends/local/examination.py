"""Trying a base model on the data, before any trial is spent on it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from embedsweep.backends.local.devices import best_device, lacks_memory
from embedsweep.backends.local.encoder import LocalEmbedder
from embedsweep.backends.local.opening import (
    SAVE_AGAIN,
    fast_tokenizer,
    first_line,
    open_model,
    usable_length,
)
from embedsweep.backends.local.prompts import apply_prompts
from embedsweep.backends.truncation import PROBED, read_texts
from embedsweep.core.coverage import Coverage
from embedsweep.core.errors import DataError
from embedsweep.core.roles import Prompts, TextRole

_OUT_OF_RANGE = re.compile(r"index .*out of (range|bounds)")


def examine(
    name: str,
    folder: Path,
    texts: Iterable[str],
    prompts: Prompts | None = None,
    device: str | None = None,
) -> Coverage:
    """Open a base model once and embed the longest texts of the data.

    Args:
        name: Base model, as the user named it.
        folder: Folder of the model.
        texts: Texts of the data, repeats allowed.
        prompts: Prompts that replace the model's own, or `None` to keep all of them.
        device: Torch device, or `None` for the best of this machine.

    Returns:
        What the model reads of the texts.

    Raises:
        DataError: If the model does not open or cannot embed the texts.
    """
    try:
        model = open_model(folder, device or best_device()).eval()
        apply_prompts(model, prompts)
        coverage, probe = _read(model, dict.fromkeys(texts))
        if probe:
            _embed(model, probe, folder)
    except DataError as error:
        named = [replace(fault, what=f"base model {name!r}") for fault in error.faults]
        raise DataError.of(named) from error.__cause__
    except Exception as error:
        if not lacks_memory(error):
            raise
        why = f"memory does not suffice for the model and the longest texts: {first_line(error)}"
        fix = "choose a smaller model, or lower model_max_length in its tokenizer_config.json"
        raise DataError(f"base model {name!r}", str(folder), why, fix) from error
    return coverage


def _read(model: SentenceTransformer, texts: Iterable[str]) -> tuple[Coverage, tuple[str, ...]]:
    """Return what the model reads of the texts, and the texts to try it on."""
    tokenizer = fast_tokenizer(model)
    if tokenizer is None:
        return Coverage(0, None), tuple(sorted(texts, key=len)[-PROBED:])
    return read_texts(tokenizer.to_str(), usable_length(model), texts)


def _embed(model: SentenceTransformer, texts: tuple[str, ...], folder: Path) -> None:
    embedder = LocalEmbedder(model)
    for role in dict.fromkeys(map(embedder.effective_role, TextRole)):
        try:
            vectors = embedder.embed(texts, role)
        except Exception as error:
            if lacks_memory(error):
                raise
            raise DataError("model", str(folder), *_failure(error)) from error
        if not np.isfinite(vectors).all():
            why = "its vectors of the longest texts are not finite: its weights hold NaN, infinity"
            why += " or values that are too large"
            raise DataError("model", str(folder), why, SAVE_AGAIN)


def _failure(error: Exception) -> tuple[str, str]:
    """Return why a forward pass failed and how to fix it."""
    if isinstance(error, IndexError) or _OUT_OF_RANGE.search(str(error)):
        return (
            f"it cannot embed the longest texts of the data, because its tokenizer gives tokens or "
            f"positions that the network has no row for ({first_line(error)})",
            "use the tokenizer that the weights were trained with, or choose another model",
        )
    if isinstance(error, KeyError) and error.args == ("sentence_embedding",):
        return (
            "modules.json has no module that pools token embeddings into one vector per text",
            "delete modules.json, and sentence-transformers pools by the mean; or add a Pooling "
            "module and save the model again",
        )
    return (
        f"it cannot embed the longest texts of the data: {type(error).__name__}: "
        f"{first_line(error)}",
        SAVE_AGAIN,
    )
