"""A model as clients get it: embeddings from the routes, before any client may request them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import Message

from embedsweep.core.ports import Embedder, FloatArray
from embedsweep.core.roles import TextRole
from embedsweep.core.trial import TrialFailure
from embedsweep.serving.errors import Replies, speak_openai
from embedsweep.serving.gate import Gate
from embedsweep.serving.limits import Limits
from embedsweep.serving.routes import EMBEDDINGS, embeddings_routes
from embedsweep.serving.served import Served, Shelf


class _OneModel:
    """A shelf with a single model."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def find(self, model_id: str, owner: str) -> Served | None:
        return self._served if model_id == self._served.id else None

    def listings(self, owner: str) -> Sequence[Served]:
        return [self._served]


class AnsweredRequests:
    """Embeds by requests to the routes that answer clients; fulfils `core.ports.Embedder`.

    The requests are made in this process, without a socket, and name the role of their texts. What
    is checked this way is what a client gets: a fault of the routes shows as well as one of the
    model.

    Args:
        served: The model.
    """

    def __init__(self, served: Served) -> None:
        self._served = served

    @property
    def dimension(self) -> int:
        return self._embedder.dimension

    def effective_role(self, role: TextRole) -> TextRole:
        return self._embedder.effective_role(role)

    def embed(self, texts: Sequence[str], role: TextRole = TextRole.PLAIN) -> FloatArray:
        """See `core.ports.Embedder`.

        Raises:
            TrialFailure: If the routes reject the request.
        """
        body = {"model": self._served.id, "input": list(texts), "input_type": role.value}
        status, reply = asyncio.run(_post(self._served, json.dumps(body).encode()))
        if status != 200:
            raise TrialFailure("reply", f"status {status}: {reply['error']['message']}")
        return np.asarray([row["embedding"] for row in reply["data"]], np.float32)

    @property
    def _embedder(self) -> Embedder:
        return self._served.open()


async def _post(served: Served, body: bytes) -> tuple[int, Any]:
    """Return the status of the reply and its JSON."""
    limits = Limits()
    app = FastAPI(openapi_url=None, middleware=[Middleware(Replies)])
    speak_openai(app)
    app.include_router(embeddings_routes(_OneModel(served), Gate(1, 0), limits))
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": EMBEDDINGS,
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        # A client that stays: after its body there is nothing to receive.
        return given.pop() if given else await asyncio.Future[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status = next(each["status"] for each in sent if each["type"] == "http.response.start")
    content = b"".join(each.get("body", b"") for each in sent)
    return status, json.loads(content)


_: tuple[type[Embedder], type[Shelf]] = AnsweredRequests, _OneModel
