"""Vectors of a provider's model, over the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import openai

from embedsweep.backends.hosted.embedding_reply import KIND, tokens_billed, vectors_of
from embedsweep.backends.hosted.meter import Meter
from embedsweep.backends.hosted.provider import Provider, ProviderFault
from embedsweep.backends.hosted.roles import RoleFields, role_fields
from embedsweep.core.bill import tokens_in
from embedsweep.core.errors import DataError
from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import NO_PROMPTS, Prompts, TextRole
from embedsweep.core.trial import TrialFailure

_PROBE = ("dimension",)


@dataclass(frozen=True)
class HostedModel:
    """A model of a provider's.

    Attributes:
        name: The provider's name of it.
        dimensions: Length of the vectors to ask for; None for the model's own.
        dimension: The length its vectors are known to have; None to learn it from the first.
        base_model: The model it is tuned from, whose price it has; None for itself.
        prompts: Prompts to put before the texts.
    """

    name: str
    dimensions: int | None = None
    dimension: int | None = None
    base_model: str | None = None
    prompts: Prompts = NO_PROMPTS


@dataclass(frozen=True)
class RequestLimits:
    """What goes into one request.

    Attributes:
        texts: At most; the OpenAI API takes 2048.
        bytes: Of UTF-8 in all its texts, at most. The OpenAI API takes 300 000 tokens, and a
            token of plain text has two bytes or more.
    """

    texts: int = 512
    bytes: int = 600_000


class HostedEmbedder:
    """Fulfils `core.ports.Embedder`.

    The role of the texts goes to providers that take it, and chooses the prompt. Nothing is
    truncated here: the provider has to reject a text that is too long for the model.

    Args:
        provider: Who is asked.
        model: For what.
        meter: Counts the tokens and keeps them within the cap; None to count nothing.
        limits: What goes into one request.
    """

    def __init__(
        self,
        provider: Provider,
        model: HostedModel,
        meter: Meter | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        self.model = model
        self._provider = provider
        self._meter = meter
        self._limits = limits or RequestLimits()
        self._dimension = model.dimension or model.dimensions
        self._action = f"to embed texts with {model.name}"

    @property
    def dimension(self) -> int:
        if self._dimension is None:
            self._dimension = self.embed(_PROBE).shape[1]
        return self._dimension

    @cached_property
    def _role_fields(self) -> RoleFields:
        return role_fields(self._provider, self.model.name)

    def effective_role(self, role: TextRole) -> TextRole:
        plain, fields = TextRole.PLAIN, self._role_fields
        is_plain = self._prompt(role) == self._prompt(plain) and fields.get(role) == fields.get(
            plain
        )
        return plain if is_plain else role

    def _prompt(self, role: TextRole) -> str:
        return self.model.prompts.as_dict().get(role.value, "")

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        """See `core.ports.Embedder`.

        Raises:
            DataError: A text is empty, which the API takes none of; nothing has been sent.
            TrialFailure: The provider refuses a request, or its vectors are worth no score.
            StoreError: The provider refuses the key or is out of order.
            Refusal: The next request would exceed the cap.
        """
        for index, text in enumerate(texts):
            if not text:
                raise DataError(
                    f"text {index + 1} of {len(texts)}",
                    f"what {self.model.name} is to embed",
                    "it is empty, and the OpenAI API takes no empty text",
                    "leave it out",
                )
        prompt = self._prompt(role)
        batches = [
            self._batch(batch, role, f"batch {number}")
            for number, batch in enumerate(self._batches([prompt + text for text in texts]), 1)
        ]
        return np.concatenate(batches) if batches else np.zeros((0, self.dimension), np.float32)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for text in texts:
            more = len(text.encode("utf-8", "surrogatepass"))
            if batch and (len(batch) == self._limits.texts or size + more > self._limits.bytes):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += more
        if batch:
            yield batch

    def _batch(self, texts: list[str], role: TextRole, place: str) -> FloatArray:
        reply = self._metered(texts, role, place)
        vectors = vectors_of(reply, len(texts), place, self._dimension)
        self._dimension = vectors.shape[1]
        return vectors

    def _metered(self, texts: list[str], role: TextRole, place: str) -> dict[str, Any]:
        """The reply, its tokens reserved before and settled after."""
        if self._meter is None:
            return self._reply(texts, role, place)
        estimate = tokens_in(texts)
        priced_as = self.model.base_model or self.model.name
        entry = self._meter.reserve(self._provider.name, priced_as, estimate)
        try:
            reply = self._reply(texts, role, place)
        except TrialFailure:
            self._meter.settle(entry, priced_as, 0)
            raise
        # Of any other failure it is not known what the provider will bill: the estimate stands.
        counted = tokens_billed(reply)
        self._meter.settle(entry, priced_as, estimate if counted is None else counted)
        return reply

    def _reply(self, texts: list[str], role: TextRole, place: str) -> dict[str, Any]:
        size, fields = self.model.dimensions, self._role_fields.get(role)

        # Without a format the client asks for base64, which not every server knows.
        try:
            return self._provider.patiently(
                lambda client: client.embeddings.with_raw_response.create(
                    input=texts,
                    model=self.model.name,
                    dimensions=openai.omit if size is None else size,
                    encoding_format="float",
                    extra_body=fields,
                )
            )
        except ProviderFault as fault:
            if fault.status == 200:
                raise TrialFailure(KIND, f"{place}: {fault.message}") from None
            if fault.status == 404 and self.model.base_model is not None:
                raise TrialFailure("provider", f"{self.model.name}: {fault.message}") from None
            raise fault.told(self._provider.name, self._action) from None


_: type[Embedder] = HostedEmbedder
