"""What the routes ask of whoever has models, whether from a registry or fine-tuned here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole


class Served(Protocol):
    """A model to ask for.

    Attributes:
        id: What replies call it.
        created: Unix seconds.
        version: Its number in the registry; None for models that have none.
        fingerprint: The identity of how it was made; None where that is not told.
        embedder: The model, where it is in memory; None where `open` must be called first.
    """

    @property
    def id(self) -> str: ...

    @property
    def created(self) -> int: ...

    @property
    def version(self) -> int | None: ...

    @property
    def fingerprint(self) -> str | None: ...

    @property
    def embedder(self) -> Embedder | None: ...

    def open(self) -> Embedder:
        """The model, loaded if need be: slow, and safe from any thread.

        Raises:
            ApiError: It cannot be loaded.
        """
        ...


class Shelf(Protocol):
    """Has models. Safe from any thread; may read a disk, so it is not asked on the event loop."""

    def find(self, model_id: str, owner: str) -> Served | None:
        """Who answers to the id; None if nobody does, or nobody that the owner may see."""
        ...

    def listings(self, owner: str) -> Sequence[Served]:
        """All there is for the owner to ask for."""
        ...


@dataclass(frozen=True)
class Shelves:
    """Several shelves as one; the first that has an id answers for it."""

    shelves: tuple[Shelf, ...]

    def find(self, model_id: str, owner: str) -> Served | None:
        for shelf in self.shelves:
            if (served := shelf.find(model_id, owner)) is not None:
                return served
        return None

    def listings(self, owner: str) -> list[Served]:
        return [served for shelf in self.shelves for served in shelf.listings(owner)]


def fault_of(vectors: FloatArray, texts: int, dimension: int) -> str | None:
    """What is wrong with the vectors of so many texts, or None."""
    if vectors.shape != (texts, dimension):
        return f"the model gave vectors of shape {vectors.shape}, expected {(texts, dimension)}"
    if not np.isfinite(vectors).all():
        return "the model gave a vector that is not finite"
    if not vectors.any(axis=1).all():
        return "the model gave a zero vector"
    return None


@runtime_checkable
class CountsTokens(Protocol):
    """What an embedder may offer beside the port: how many tokens it reads of the texts."""

    def count_tokens(self, texts: Sequence[str], role: TextRole) -> int: ...


def token_count(embedder: Embedder, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> int:
    """Tokens, where the embedder counts them; else words between blanks, which are fewer."""
    if isinstance(embedder, CountsTokens):
        return embedder.count_tokens(texts, role)
    return sum(len(text.split()) for text in texts)


_: type[Shelf] = Shelves
