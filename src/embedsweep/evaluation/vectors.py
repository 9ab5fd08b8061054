"""The vectors of a benchmark's texts: each distinct text is embedded once per effective role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import perf_counter

import numpy as np

from embedsweep.core.dataset import TextRole
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.evaluation.health import check_vectors
from embedsweep.evaluation.ranking import Float64Array

PAIRS_AT_A_TIME = 4096


class TextVectors:
    """Unit vectors by role and text.

    Attributes:
        seconds: Wall time of embedding.
        count: Texts embedded; a text counts once in every role the model tells apart.
    """

    def __init__(self, embedder: Embedder, texts: Mapping[TextRole, Iterable[str]]) -> None:
        """Embed and check all texts.

        Args:
            embedder: The model.
            texts: The texts of each role, repeats allowed.

        Raises:
            TrialFailure: The vectors are worth no measuring; see `check_vectors`.
        """
        self._effective = {role: embedder.effective_role(role) for role in texts}
        merged: dict[TextRole, dict[str, None]] = {}
        for role, some in texts.items():
            merged.setdefault(self._effective[role], {}).update(dict.fromkeys(some))
        distinct = {role: list(some) for role, some in merged.items()}
        began = perf_counter()
        self._vectors = {
            role: embedder.embed(some, role) for role, some in distinct.items() if some
        }
        self.seconds = perf_counter() - began
        self.count = sum(map(len, distinct.values()))
        for role, vectors in self._vectors.items():
            check_vectors(vectors, distinct[role])
        self._rows = {
            role: {text: row for row, text in enumerate(some)} for role, some in distinct.items()
        }

    def of(self, role: TextRole, texts: Iterable[str]) -> FloatArray:
        """One row per text, in their order."""
        effective = self._effective[role]
        rows = self._rows[effective]
        return self._vectors[effective][[rows[text] for text in texts]]

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
