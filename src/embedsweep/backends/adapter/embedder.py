"""A frozen model with a head on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from embedsweep.backends.adapter.heads import ResidualHead
from embedsweep.backends.adapter.inputs import token_reader
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole


class AdapterEmbedder:
    """The head's vectors of the frozen model's; fulfils `core.ports.Embedder`.

    Args:
        base: The frozen model.
        head: The head.
        held: The frozen model behind something that holds vectors, for `recalling`.

    Attributes:
        base: The frozen model.
        head: The head.
        count_tokens: The frozen model's, where it has one; else there is no such attribute.
    """

    count_tokens: Callable[[Sequence[str], TextRole], int]

    def __init__(self, base: Embedder, head: ResidualHead, held: Embedder | None = None) -> None:
        self.base = base
        self.head = head
        self._held = held
        count = getattr(base, "count_tokens", None)
        if count is not None:
            self.count_tokens = count
        self.token_ids = token_reader(base)

    @property
    def dimension(self) -> int:
        return self.base.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        return self.base.effective_role(role)

    @property
    def recalling(self) -> AdapterEmbedder:
        """The same model, for texts that many heads on one frozen model are asked for.

        The frozen model is asked for them once by all that one backend opened, and live: what it
        gave then is held, and nothing of an earlier process.
        """
        return self if self._held is None else AdapterEmbedder(self._held, self.head)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        with torch.inference_mode():
            # The head leaves what it is given as it is, so that no copy is needed.
            frozen = torch.from_numpy(self.base.embed(texts, role))
            vectors: FloatArray = self.head(frozen).numpy()
        return vectors


_: type[Embedder] = AdapterEmbedder
