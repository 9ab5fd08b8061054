"""A sentence-transformers model: embedding to measure, forwarding to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import Tensor
from torch.nn import functional

from embedsweep.backends.local.array_store import ArrayStore
from embedsweep.backends.local.opening import fast_tokenizer, usable_length
from embedsweep.backends.local.packed_bert import fits
from embedsweep.backends.local.packed_model import PackedModel
from embedsweep.backends.local.padded_embedding import embed_padded
from embedsweep.backends.local.padded_model import PaddedModel
from embedsweep.backends.local.prompts import prompt_of
from embedsweep.backends.local.tokens import TextTokenizer
from embedsweep.core.ports import FloatArray
from embedsweep.core.roles import TextRole


class LocalEmbedder:
    """Embeds with a sentence-transformers model; fulfils `core.ports.Embedder`.

    Args:
        model: The model, in evaluation mode whenever it embeds.
        precision: What matrices are multiplied in; vectors are float32.
        store: Where token ids, and what frozen layers make of them, are kept; None for nowhere.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        precision: torch.dtype = torch.float32,
        store: ArrayStore | None = None,
    ) -> None:
        self.model = model
        self._precision = precision
        self._packed = PackedModel(model, precision, None, store) if fits(model) else None

    @property
    def dimension(self) -> int:
        return int(self.model.get_embedding_dimension() or 0)

    def effective_role(self, role: TextRole) -> TextRole:
        routed = any(isinstance(module, Router) for module in self.model)
        alike = prompt_of(self.model, role) == prompt_of(self.model, TextRole.PLAIN)
        return TextRole.PLAIN if alike and not routed else role

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        if self._packed is None:
            return self._encoded(texts, role)
        prompt = prompt_of(self.model, role)
        return self._packed.embed([prompt + text for text in texts])

    def count_tokens(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> int:
        """Count what the model reads of these texts: prompts and special tokens, truncated."""
        prompt = prompt_of(self.model, role)
        features = self.model.preprocess([prompt + text for text in texts])
        return int(features["attention_mask"].sum())

    def token_ids(
        self, texts: Sequence[str], role: TextRole = TextRole.PLAIN
    ) -> list[tuple[int, ...]] | None:
        """See `core.coverage.ReadsTokens`."""
        tokenizer = fast_tokenizer(self.model)
        if tokenizer is None:
            return None
        limit = usable_length(self.model)
        prompt = prompt_of(self.model, role)
        return TextTokenizer(tokenizer, limit).own_ids([prompt + text for text in texts])

    def _encoded(self, texts: Sequence[str], role: TextRole) -> FloatArray:
        """By the model's own methods, which route a role through a `Router`."""
        encode: Callable[..., FloatArray] = self.model.encode
        if role is TextRole.QUERY:
            encode = self.model.encode_query
        elif role is TextRole.DOCUMENT:
            encode = self.model.encode_document

        def rows(some: list[str]) -> FloatArray:
            return encode(
                some,
                batch_size=len(some),
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=True,
            )

        return embed_padded(texts, self.model, self._precision, rows)


class TrainingEncoder:
    """Forwards texts with gradients.

    Args:
        model: The model, in training mode.
        precision: What matrices are multiplied in; weights and vectors stay float32.
        limit: Longest text, in tokens, that is read; None for the model's own limit.
        store: Where token ids, and what frozen layers make of them, are kept; None for nowhere.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        precision: torch.dtype,
        limit: int | None = None,
        store: ArrayStore | None = None,
    ) -> None:
        self._model = model
        self._way: PackedModel | PaddedModel = (
            PackedModel(model, precision, limit, store)
            if fits(model)
            else PaddedModel(model, precision, limit, store)
        )

    def prepare(self, texts: Mapping[TextRole, Sequence[str]]) -> None:
        """Do at once what can be done of the texts that `backward` will see."""
        prompted = (
            prompt_of(self._model, role) + text for role, some in texts.items() for text in some
        )
        self._way.prepare(prompted)

    def backward(
        self,
        texts: Sequence[str],
        roles: Sequence[TextRole],
        objective: Callable[[Tensor], Tensor],
        mini_batch: int | None = None,
    ) -> Tensor:
        """Leave the gradients of a loss in the model's parameters; returns the loss.

        Args:
            texts: Prepared before.
            roles: Of each text.
            objective: From unit vectors of all texts, (texts, dimension), float32, to the loss.
            mini_batch: Forward twice instead of keeping what a backward pass needs, at most so
                many texts at a time; None to keep it where memory suffices.
        """
        pairs = zip(texts, roles, strict=True)
        prompted = [prompt_of(self._model, role) + text for text, role in pairs]

        def loss(vectors: Tensor) -> Tensor:
            return objective(functional.normalize(vectors, dim=1))

        return self._way.backward(prompted, loss, mini_batch)
