"""What a model reads of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from embedsweep.core.roles import TextRole


class ReadsTokens(Protocol):
    """What a `core.ports.Embedder` may offer in addition: the tokens that it reads of texts."""

    def token_ids(
        self, texts: Sequence[str], role: TextRole = TextRole.PLAIN
    ) -> list[tuple[int, ...]] | None:
        """Return the token ids of each text as the model reads it.

        They include the prompt's, are truncated, and lack the special tokens around the text. Two
        texts with the same ids have the same vector in every model with this tokenizer. `None` if
        the model does not read tokens or they are not known here.
        """
        ...


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a data set's texts a base model reads.

    Attributes:
        texts: Number of distinct texts that were tokenized.
        limit: Tokens that the model reads of a text, special tokens included, or `None` if the
            model has no limit.
        truncated: Number of texts that are longer than the limit.
        alike_truncated: Number of texts that equal another text up to the limit.
        alike_unknown: Number of the other texts that equal another text once tokens that the
            vocabulary lacks are replaced by the unknown token.
    """

    texts: int
    limit: int | None
    truncated: int = 0
    alike_truncated: int = 0
    alike_unknown: int = 0

    @property
    def truncated_share(self) -> float:
        """The share of truncated texts, between 0 and 1."""
        return self.truncated / self.texts if self.texts else 0.0

    def notes(self, name: str) -> Iterator[str]:
        """Yield what the reader of the results should know, for the base model of that name."""
        if self.truncated:
            yield (
                f"{self.truncated_share:.1%} of the texts are longer than the {self.limit} tokens "
                f"that {name} reads; it ignores the rest of them"
            )
        if self.alike_truncated:
            yield (
                f"{self.alike_truncated} of {self.texts} texts are the same as another text to "
                f"{name}: they differ only after the first {self.limit} tokens. Shorten what such "
                "texts start with, or choose a model that reads longer texts"
            )
        if self.alike_unknown:
            yield (
                f"{self.alike_unknown} of {self.texts} texts are the same as another text to "
                f"{name}: they differ only in characters that its vocabulary lacks, such as emoji "
                "or another script. Choose a model whose vocabulary has them"
            )
