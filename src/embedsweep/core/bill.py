"""What providers bill: tokens, and the money they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

BYTES_PER_TOKEN = 4
"""Of UTF-8, about, in the tokenizers of hosted models; only estimates rest on it."""

_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a provider bills for a model, per million tokens; the currency is the user's.

    Attributes:
        embedding: For tokens embedded with it, and with what is tuned from it.
        training: For tokens trained on, each epoch anew.
    """

    embedding: float = 0.0
    training: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens that providers counted, and their cost in the currency of the prices.

    Attributes:
        embedded_tokens: Tokens turned into vectors.
        trained_tokens: Tokens trained on, each epoch anew.
        cost: What they come to.
    """

    embedded_tokens: int = 0
    trained_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.embedded_tokens + other.embedded_tokens,
            self.trained_tokens + other.trained_tokens,
            self.cost + other.cost,
        )

    def __sub__(self, earlier: Bill) -> Bill:
        """What was added since an earlier bill."""
        return Bill(
            self.embedded_tokens - earlier.embedded_tokens,
            self.trained_tokens - earlier.trained_tokens,
            self.cost - earlier.cost,
        )


def tokens_in(texts: Iterable[str]) -> int:
    """About how many tokens the texts are, each one at least."""
    sizes = (len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return sum(max(1, -(-size // BYTES_PER_TOKEN)) for size in sizes)


def embedding_bill(tokens: int, price: Price) -> Bill:
    """For tokens embedded."""
    return Bill(embedded_tokens=tokens, cost=tokens * price.embedding / _MILLION)


def training_bill(tokens: int, price: Price) -> Bill:
    """For tokens trained on; those of every epoch count."""
    return Bill(trained_tokens=tokens, cost=tokens * price.training / _MILLION)
