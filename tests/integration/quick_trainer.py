"""Trains in no time, and does what the texts say: holds, dies or breaks after the first epoch.

Loaded in worker processes: it imports no more than training does.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedsweep.core.dataset import TrainingSet
from embedsweep.core.errors import DataError
from embedsweep.core.ports import EpochEnd, FloatArray, TrainingListener
from embedsweep.core.recipe import LocalRecipe
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure

DIMENSION = 16
FIRST_NUMBER = 100
"""The model after epoch 1 tells the number 101 in its vectors, and so on; a base model tells 1."""


class NumberedEmbedder:
    """Its vectors tell texts apart, and the model's number: mix-ups show."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.dimension = DIMENSION

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        rows = np.ones((len(texts), DIMENSION), dtype=np.float32)
        rows[:, 1] = self.number
        for row, text in zip(rows, texts, strict=True):
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            row[2:] = np.random.default_rng(seed).normal(0, 1000, DIMENSION - 2)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def save(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.json").write_text(json.dumps({"number": self.number}))


def open_model(folder: Path) -> NumberedEmbedder:
    return NumberedEmbedder(**json.loads((folder / "model.json").read_text()))


def number_told(vector: Sequence[float]) -> int:
    return round(vector[1] / vector[0])


def train(recipe: LocalRecipe, data: TrainingSet, folder: Path, listener: TrainingListener) -> None:
    texts = list(data.every_text())
    per_epoch = -(-len(data) // recipe.batch_size)
    total = per_epoch * recipe.epochs
    listener.on_fact("device", "none")
    for epoch in range(1, recipe.epochs + 1):
        for step in range((epoch - 1) * per_epoch + 1, epoch * per_epoch + 1):
            listener.on_step(step, total)
            listener.on_metrics(step, {"train/loss": 1 / step, "train/odd": float("nan")})
        model = NumberedEmbedder(FIRST_NUMBER + epoch)
        losses = {"train/loss": 1 / epoch, "learning_rate": recipe.learning_rate}
        listener.on_epoch(EpochEnd(epoch, losses, model, model.save))
        if epoch == 1:
            for text in texts:
                _obey(text, folder)
    model.save(folder)


def hold(port: int) -> None:
    """Say who waits, wait for a byte, and give one back."""
    with socket.create_connection(("127.0.0.1", port)) as held:
        held.sendall(f"{os.getpid()}\n".encode())
        held.recv(1)
        held.sendall(b"!")


def _obey(text: str, folder: Path) -> None:
    match text.split():
        case ["hold", port]:
            hold(int(port))
        case ["die", number]:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), int(number))
        case ["leave", code]:
            (folder.parent / "half a model").write_text("half")
            os._exit(int(code))
        case ["collapse"]:
            raise TrialFailure("collapsed", "all vectors are alike")
        case ["misconfigured"]:
            raise DataError("model", "/secret/folder", "not there", "put it there")
        case ["break"]:
            raise RuntimeError("a bug in /secret/folder")
        case ["exhaust"]:
            raise MemoryError
        case ["fill"]:
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")
        case ["deny"]:
            raise PermissionError(errno.EACCES, "Permission denied", "/secret/folder")
