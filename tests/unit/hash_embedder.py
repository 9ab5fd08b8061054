"""A frozen model that costs nothing: its vectors come from the text's digest."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np

from embedsweep.core.ports import FloatArray
from embedsweep.core.roles import TextRole

DIMENSION = 8


def vector_of(text: str, role: TextRole) -> FloatArray:
    digest = hashlib.sha256(f"{role.value}: {text}".encode("utf-8", "surrogatepass")).digest()
    vector = np.frombuffer(digest, dtype=np.uint8)[:DIMENSION].astype(np.float32) + 1
    return vector / np.linalg.norm(vector)


@dataclass
class HashEmbedder:
    """Fulfils `core.ports.Embedder`; queries have a prompt, documents have none.

    Attributes:
        log: File that gets a line per text embedded, from every process; None for no log.
        answers: Vectors to give instead, by text.
        meet: Waited at before the first vector, for as long as the barrier's own time allows.
        kill_after: Ends the process by SIGKILL once so many texts have been embedded.
        calls: The texts asked for, call by call.
    """

    log: Path | None = None
    answers: Mapping[str, FloatArray] = field(default_factory=dict)
    meet: Barrier | None = None
    kill_after: int | None = None
    calls: list[list[str]] = field(default_factory=list)
    dimension: int = DIMENSION

    def effective_role(self, role: TextRole) -> TextRole:
        return TextRole.PLAIN if role is TextRole.DOCUMENT else role

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        self.calls.append(list(texts))
        if self.meet is not None:
            try:
                self.meet.wait()
            except BrokenBarrierError:
                self.meet = None
        effective = self.effective_role(role)
        return np.stack([self._vector(text, effective) for text in texts])

    def _vector(self, text: str, role: TextRole) -> FloatArray:
        if self.kill_after is not None:
            if self.kill_after == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.kill_after -= 1
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{text}\n")
        return self.answers.get(text, vector_of(text, role))
