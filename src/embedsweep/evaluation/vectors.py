"""The vectors of a benchmark's texts: each distinct text is embedded once per effective role."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter

import numpy as np

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole
from embedsweep.evaluation.health import TokenIds, check_vectors
from embedsweep.evaluation.ranking import Float64Array

PAIRS_AT_A_TIME = 4096


class DistinctTexts:
    """The texts to embed, each once in every role that a model tells apart.

    Args:
        texts: The texts of each role, repeats allowed.
        effective: What each role comes to, as of `core.ports.Embedder.effective_role`.

    Attributes:
        by_role: The distinct texts of each effective role.
    """

    def __init__(
        self, texts: Mapping[TextRole, Iterable[str]], effective: Mapping[TextRole, TextRole]
    ) -> None:
        merged: dict[TextRole, dict[str, None]] = {}
        for role, some in texts.items():
            merged.setdefault(effective[role], {}).update(dict.fromkeys(some))
        self.by_role = {role: tuple(some) for role, some in merged.items()}
        self._effective = effective
        self._rows = {
            role: {text: row for row, text in enumerate(some)} for role, some in merged.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self.by_role.values()))

    def rows(self, role: TextRole, texts: Iterable[str]) -> tuple[TextRole, list[int]]:
        """The effective role, and the place of each text among its texts."""
        effective = self._effective[role]
        rows = self._rows[effective]
        return effective, [rows[text] for text in texts]


class TextVectors:
    """Unit vectors by role and text.

    Attributes:
        seconds: Wall time of embedding.
    """

    def __init__(self, embedder: Embedder, texts: DistinctTexts) -> None:
        """Embed and check all texts.

        Args:
            embedder: The model.
            texts: In the roles that this model tells apart.

        Raises:
            TrialFailure: The vectors are worth no measuring; see `check_vectors`.
        """
        self._texts = texts
        began = perf_counter()
        self._vectors = {
            role: embedder.embed(some, role) for role, some in texts.by_role.items() if some
        }
        self.seconds = perf_counter() - began
        read: Callable[..., TokenIds | None] | None = getattr(embedder, "token_ids", None)
        for role, vectors in self._vectors.items():
            check_vectors(vectors, texts.by_role[role], partial(read, role=role) if read else None)

    def of(self, role: TextRole, texts: Iterable[str]) -> FloatArray:
        """One row per text, in their order."""
        effective, rows = self._texts.rows(role, texts)
        return self._vectors[effective][rows]

    def cosines(
        self,
        pairs: Iterable[tuple[str, str]],
        first_role: TextRole = TextRole.PLAIN,
        second_role: TextRole = TextRole.PLAIN,
    ) -> Float64Array:
        """Cosine of each pair of texts, summed in double precision."""
        every = list(pairs)
        cosines = np.empty(len(every))
        for start in range(0, len(every), PAIRS_AT_A_TIME):
            some = every[start : start + PAIRS_AT_A_TIME]
            first = self.of(first_role, (pair[0] for pair in some))
            second = self.of(second_role, (pair[1] for pair in some))
            cosines[start : start + len(some)] = np.einsum(
                "ij,ij->i", first, second, dtype=np.float64
            )
        return cosines
