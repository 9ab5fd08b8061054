"""A frozen model with a head on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.core.dataset import TextRole
from embedsweep.core.ports import Embedder, FloatArray


class AdapterEmbedder:
    """The head's vectors of the frozen model's; fulfils `core.ports.Embedder`.

    Attributes:
        count_tokens: The frozen model's, where it has one; else there is no such attribute.
    """

    count_tokens: Callable[[Sequence[str]], int]

    def __init__(self, base: Embedder, head: ResidualHead) -> None:
        self._base = base
        self._head = head
        count = getattr(base, "count_tokens", None)
        if count is not None:
            self.count_tokens = count

    @property
    def dimension(self) -> int:
        return self._base.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        return self._base.effective_role(role)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        with torch.inference_mode():
            # The head leaves what it is given as it is, so that no copy is needed.
            frozen = torch.from_numpy(self._base.embed(texts, role))
            vectors: FloatArray = self._head(frozen).numpy()
        return vectors


_: type[Embedder] = AdapterEmbedder
