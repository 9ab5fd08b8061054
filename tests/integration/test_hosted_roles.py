"""Roles and prompts of a provider's models: what goes over the wire, and what comes of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from embedsweep.backends.adapter.backend import AdapterBackend
from embedsweep.backends.embedding_cache import CachedEmbedder, EmbeddingCache, model_identity
from embedsweep.backends.hosted.backend import open_hosted, open_hosted_base
from embedsweep.backends.hosted.embedder import HostedEmbedder, HostedModel
from embedsweep.backends.hosted.provider import Provider, open_client
from embedsweep.backends.model_file import read_model_file
from embedsweep.core.errors import StoreError
from embedsweep.core.ports import TrainingListener
from embedsweep.core.recipe import AdapterRecipe, Base, Head, Loss
from embedsweep.core.roles import Prompts, TextRole
from tests.integration.hosted_parts import Desk, fast_clock
from tests.integration.kept_models import DATA

KEY = "sk-roles-0123456789"
TEXTS = ["how do I open a file?", "call open"]
PROMPTS = Prompts(query="query: ", document="passage: ")


class RoleServer(ThreadingHTTPServer):
    """An OpenAI-compatible server whose vectors depend on all of a request's other fields.

    Attributes:
        card: What ``GET /v1/models/{id}`` gives, or `None`.
        status: Its status.
        bodies: Bodies of the requests for embeddings.
    """

    def __init__(self, card: dict[str, Any] | None, status: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), RoleHandler)
        self.card = card
        self.status = status or (404 if card is None else 200)
        self.bodies: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class RoleHandler(BaseHTTPRequestHandler):
    server: RoleServer

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._reply(self.server.status, self.server.card or {"error": {}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)
        fields = json.dumps([body.get("input_type"), body.get("task")])
        rows = [
            {"index": place, "embedding": vector_of(fields + text)}
            for place, text in enumerate(body["input"])
        ]
        self._reply(200, {"data": rows, "usage": {"total_tokens": 3}})

    def _reply(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def vector_of(text: str) -> list[float]:
    return [byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:8]]


CARD = {"id": "small", "object": "model", "roles": ["query", "document"]}


@pytest.fixture
def with_roles() -> Iterator[RoleServer]:
    with RoleServer(CARD) as server:
        yield server
        server.shutdown()


@pytest.fixture
def without_roles() -> Iterator[RoleServer]:
    with RoleServer(None) as server:
        yield server
        server.shutdown()


def embedder(server: RoleServer, name: str | None = None, **model: Any) -> HostedEmbedder:
    """The model behind the server, which goes by another name if one is given."""
    provider = Provider(name or server.url, open_client(server.url, KEY))
    return HostedEmbedder(provider, HostedModel("small", **model))


def sent(server: RoleServer, field: str) -> list[str | None]:
    return [body.get(field) for body in server.bodies]


def test_a_server_that_lists_roles_is_told_them(with_roles: RoleServer) -> None:
    model = embedder(with_roles)
    vectors = {role: model.embed(TEXTS, role) for role in TextRole}
    assert sent(with_roles, "input_type") == ["query", "document", "plain"]
    assert [model.effective_role(role) for role in TextRole] == list(TextRole)
    assert not np.allclose(vectors[TextRole.QUERY], vectors[TextRole.DOCUMENT])


@pytest.mark.parametrize("card", [None, {"id": "small"}, {"roles": []}, {"roles": "query"}])
def test_a_server_that_lists_none_is_told_nothing(card: dict[str, Any] | None) -> None:
    with RoleServer(card) as server:
        model = embedder(server)
        vectors = {role: model.embed(TEXTS, role) for role in TextRole}
        assert sent(server, "input_type") == [None, None, None]
        assert {model.effective_role(role) for role in TextRole} == {TextRole.PLAIN}
        np.testing.assert_array_equal(vectors[TextRole.QUERY], vectors[TextRole.PLAIN])
        server.shutdown()


@pytest.mark.parametrize("status", [401, 405, 500, 501, 502])
def test_a_server_without_the_page_is_not_waited_for(status: int) -> None:
    with RoleServer(None, status) as server:
        assert {embedder(server).effective_role(role) for role in TextRole} == {TextRole.PLAIN}
        server.shutdown()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    with RoleServer(CARD, status) as server:
        slept: list[float] = []
        provider = Provider(server.url, open_client(server.url, KEY), fast_clock(slept), 5.0)
        with pytest.raises(StoreError, match="to read what small takes"):
            HostedEmbedder(provider, HostedModel("small")).effective_role(TextRole.QUERY)
        assert 0 < sum(slept) <= 5
        server.shutdown()


@pytest.mark.parametrize(
    ("provider", "field", "values"),
    [
        ("https://api.voyageai.com/v1", "input_type", ["query", "document", None]),
        ("https://api.jina.ai/v1", "task", ["retrieval.query", "retrieval.passage", None]),
        ("openai", "input_type", [None, None, None]),
    ],
)
def test_known_providers_are_told_in_their_own_words(
    with_roles: RoleServer, provider: str, field: str, values: list[str | None]
) -> None:
    model = embedder(with_roles, provider)
    for role in TextRole:
        model.embed(TEXTS, role)
    assert sent(with_roles, field) == values
    distinct = [model.effective_role(role) is role for role in TextRole]
    assert distinct == [value is not None or role is TextRole.PLAIN
                        for value, role in zip(values, TextRole, strict=True)]  # fmt: skip


def test_prompts_go_before_the_texts_of_a_server_without_roles(without_roles: RoleServer) -> None:
    model = embedder(without_roles, prompts=PROMPTS)
    for role in TextRole:
        model.embed(TEXTS, role)
    prompts = {TextRole.QUERY: "query: ", TextRole.DOCUMENT: "passage: ", TextRole.PLAIN: ""}
    expected = [[prompt + text for text in TEXTS] for prompt in prompts.values()]
    assert [body["input"] for body in without_roles.bodies] == expected
    assert [model.effective_role(role) for role in TextRole] == list(TextRole)


def test_roles_are_kept_apart_in_the_cache(with_roles: RoleServer, tmp_path: Any) -> None:
    base = Base("small", with_roles.url, prompts=PROMPTS)
    identity = model_identity(base, "digest")
    assert identity != model_identity(Base("small", with_roles.url), "digest")
    cached = CachedEmbedder(
        lambda: embedder(with_roles, prompts=PROMPTS), identity, EmbeddingCache(tmp_path)
    )
    live = embedder(with_roles, prompts=PROMPTS)
    for role in (*TextRole, *TextRole):
        np.testing.assert_array_equal(cached.embed(TEXTS, role), live.embed(TEXTS, role))
    again = CachedEmbedder(lambda: pytest.fail("opened"), identity, EmbeddingCache(tmp_path))
    assert [again.effective_role(role) for role in TextRole] == list(TextRole)


def test_an_untuned_model_is_kept_with_its_prompts(
    without_roles: RoleServer, tmp_path: Any
) -> None:
    base = Base("small", without_roles.url, prompts=PROMPTS)
    desk = Desk(without_roles.url, tmp_path)
    desk.backend.untuned(base, tmp_path / "kept")
    opened = open_hosted(tmp_path / "kept", lambda url: open_client(url, KEY))
    expected = embedder(without_roles, prompts=PROMPTS)
    for role in TextRole:
        np.testing.assert_array_equal(opened.embed(TEXTS, role), expected.embed(TEXTS, role))
    assert read_model_file(tmp_path / "kept")["prompts"] == PROMPTS.as_dict()
    desk.book.close()


def test_an_adapter_over_a_provider_s_model_has_its_roles(
    with_roles: RoleServer, tmp_path: Any
) -> None:
    backend = AdapterBackend(
        lambda base: open_hosted_base(base, lambda url: open_client(url, KEY)),
        lambda base: "digest",
    )
    recipe = AdapterRecipe(
        base_model="small",
        provider=with_roles.url,
        prompts=PROMPTS,
        head=Head.LINEAR,
        loss=Loss.SOFTMAX,
        epochs=1,
        learning_rate=1e-2,
        batch_size=4,
        seed=1,
    )
    backend.train(recipe, DATA, tmp_path / "kept", TrainingListener())
    opened = backend.open(tmp_path / "kept")
    with_roles.bodies.clear()
    for role in TextRole:
        opened.embed(TEXTS, role)
    assert sent(with_roles, "input_type") == ["query", "document", "plain"]
    assert [body["input"][1] for body in with_roles.bodies] == [
        "query: call open", "passage: call open", "call open",
    ]  # fmt: skip
