"""How much the service takes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedsweep.serving.errors import ApiError


@dataclass(frozen=True)
class Limits:
    """Bounds of the service; beyond them a request is refused, never cut short.

    Attributes:
        inputs: Texts in one request; OpenAI's own bound.
        characters: Characters of one text. What a model reads of it is the model's affair.
        body_bytes: Bytes of a request's body.
        body_seconds: A body must have arrived by then.
        header_bytes: Bytes of a request's header names and values.
        concurrent: Requests that embed at the same time. More than one asks for models whose
            `embed` may be called from several threads.
        waiting: Requests that wait for their turn.
        drain_seconds: How long a shutdown waits for the requests in flight.
        poll_seconds: Time between two readings of the registry's aliases.
    """

    inputs: int = 2048
    characters: int = 100_000
    body_bytes: int = 8 * 1024 * 1024
    body_seconds: float = 30.0
    header_bytes: int = 16 * 1024
    concurrent: int = 1
    waiting: int = 64
    drain_seconds: float = 30.0
    poll_seconds: float = 10.0

    def check(self, texts: Sequence[str], params: Sequence[str]) -> None:
        """Raise `ApiError` for too many texts or too long a one.

        Args:
            texts: At least one text.
            params: What each text is called in the request.
        """
        if len(texts) > self.inputs:
            message = f"input: has {len(texts)} texts, at most {self.inputs} are taken"
            raise ApiError(400, "too_many_inputs", message, "input")
        for text, param in zip(texts, params, strict=True):
            if len(text) > self.characters:
                has = f"has {len(text)} characters, at most {self.characters} are taken"
                raise ApiError(400, "text_too_long", f"{param}: {has}", param)
