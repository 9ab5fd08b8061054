"""Many clients at once: swaps, a full line, and a server that stays answerable."""

from __future__ import annotations

import contextlib
import gc
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import pytest

from embedsweep.serving.limits import Limits
from embedsweep.serving.shelf import ModelShelf
from tests.integration.serving_twins import (
    NAME,
    Answer,
    MemoryRegistry,
    TellingEmbedder,
    Told,
    call,
    embed,
    open_model,
    serving,
    shelf_of,
)

SWAPS = 40
ANSWERS_BETWEEN_SWAPS = 12
BATCH = ["one", "two words", "three more words", "x" * 300]


def version_of(answer: Answer, texts: list[str]) -> int:
    """The one version that made the whole reply, in order; an error if there is none."""
    told = [Told.by(row["embedding"]) for row in answer.body["data"]]
    number = int(answer.headers["x-model-version"])
    assert told == [Told.of(text, number) for text in texts]
    return number


@pytest.fixture
def registry() -> MemoryRegistry:
    registry = MemoryRegistry()
    registry.crown_new()
    return registry


def test_a_mixed_or_misplaced_reply_would_be_seen():
    """The control of the tests below."""
    old, new = TellingEmbedder(1).embed(BATCH), TellingEmbedder(2).embed(BATCH)

    def reply(rows) -> Answer:
        data = [{"embedding": row.tolist()} for row in rows]
        return Answer(200, {"x-model-version": "2"}, {"data": data})

    assert version_of(reply(new), BATCH) == 2
    for wrong in ([*new[:3], old[3]], old, new[::-1], new[:3]):
        with pytest.raises(AssertionError):
            version_of(reply(wrong), BATCH)


def test_swaps_under_load_lose_no_request_and_mix_no_versions(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    ended = threading.Event()
    answered = threading.Semaphore(0)

    def client() -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        while not ended.is_set():
            texts = BATCH[: 1 + len(seen) % len(BATCH)]
            answer = embed(port, texts)
            version = version_of(answer, texts) if answer.status == 200 else 0
            seen.append((answer.status, version))
            answered.release()
        return seen

    with serving(shelf) as port, ThreadPoolExecutor(4) as clients:
        loads = [clients.submit(client) for _ in range(4)]
        for _ in range(SWAPS):
            assert all(answered.acquire(timeout=10) for _ in range(ANSWERS_BETWEEN_SWAPS))
            registry.crown_new()
            shelf.refresh()
        ended.set()
        seen = [load.result() for load in loads]

    assert {status for answers in seen for status, _ in answers} == {200}
    for answers in seen:
        versions = [version for _, version in answers]
        assert versions == sorted(versions), "a client went back to an older version"
    assert len({version for answers in seen for _, version in answers}) > SWAPS // 2
    gc.collect()
    assert len(list(tmp_path.iterdir())) == 2, "the champion's files and the former champion's"


def test_a_pinned_client_is_answered_by_its_version_through_a_swap(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    with serving(shelf) as port:
        registry.crown_new()
        shelf.refresh()
        assert version_of(embed(port, BATCH, model=f"{NAME}/1"), BATCH) == 1
        assert version_of(embed(port, BATCH), BATCH) == 2
        registry.crown_new()
        shelf.refresh()
        gone = embed(port, BATCH, model=f"{NAME}/1")
        assert gone.error == (404, "model_not_found", "model")
        assert f"{NAME}/3, {NAME}/2" in gone.body["error"]["message"]


def test_readiness_tells_of_a_champion_that_cannot_be_followed(registry, tmp_path):
    shelf = shelf_of(registry, tmp_path)
    with serving(shelf) as port:
        assert call(port, "GET", "/readyz").body["degraded"] is False
        registry.crown_new(nan_on="")
        shelf.refresh()
        ready = call(port, "GET", "/readyz")
        assert (ready.status, ready.body["degraded"]) == (200, True)
        assert version_of(embed(port, BATCH), BATCH) == 1


def test_an_empty_shelf_is_not_ready(registry, tmp_path):
    shelf = ModelShelf(registry, open_model, tmp_path)
    with serving(shelf) as port:
        assert call(port, "GET", "/readyz").status == 503
        assert call(port, "GET", "/healthz").status == 200
        assert embed(port, "x").error == (404, "model_not_found", "model")
        shelf.load(NAME)
        assert call(port, "GET", "/readyz").status == 200


class HeldEmbedder(TellingEmbedder):
    """Holds each request for the text ``held`` until it is let go."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.texts: list[str] = []

    def embed(self, texts, role=None):
        self.texts += texts
        if "held" in texts:
            self.entered.release()
            assert self.go.wait(20)
        return super().embed(texts)


@pytest.fixture
def held(registry: MemoryRegistry, tmp_path: Path) -> Iterator[tuple[int, HeldEmbedder]]:
    """A server of one at a time and three waiting, and its embedder."""
    embedder = HeldEmbedder(1)
    shelf = ModelShelf(registry, lambda folder: embedder, tmp_path)
    shelf.load(NAME)
    with serving(shelf, Limits(concurrent=1, waiting=3)) as port:
        try:
            yield port, embedder
        finally:
            embedder.go.set()


def test_a_full_line_turns_requests_away_and_serves_the_rest(held):
    port, embedder = held
    with ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(embed, port, "held") for _ in range(20)]
        # One embeds, three wait: the other sixteen are answered at once.
        refused = [answer.result() for answer in itertools.islice(as_completed(answers), 16)]
        assert embedder.entered.acquire(timeout=5)
        started = time.monotonic()
        assert call(port, "GET", "/healthz").status == 200
        assert call(port, "GET", "/readyz").status == 200
        assert time.monotonic() - started < 1
        embedder.go.set()
        results = [answer.result() for answer in answers]
    assert sorted(result.status for result in results) == [200] * 4 + [429] * 16
    for result in refused:
        assert result.error == (429, "rate_limit_exceeded", None)
        assert result.body["error"]["type"] == "rate_limit_error"
        assert int(result.headers["retry-after"]) >= 1
    assert embed(port, "after").status == 200


def test_a_longer_line_takes_them_all(registry, tmp_path):
    """The control: the same twenty, where there is room for twenty."""
    with (
        serving(shelf_of(registry, tmp_path), Limits(concurrent=1, waiting=19)) as port,
        ThreadPoolExecutor(20) as clients,
    ):
        answers = clients.map(lambda _: embed(port, "x"), range(20))
        assert [answer.status for answer in answers] == [200] * 20


def test_the_work_of_a_client_that_left_the_line_is_dropped(held):
    port, embedder = held
    with ThreadPoolExecutor(2) as clients, contextlib.ExitStack() as stack:
        first = clients.submit(embed, port, "held")
        assert embedder.entered.acquire(timeout=5)
        stack.enter_context(impatient(port, "left"))
        second = clients.submit(embed, port, "stayed")
        stack.close()
        # One round trip later the server has seen the client go.
        assert call(port, "GET", "/healthz").status == 200
        embedder.go.set()
        assert (first.result().status, second.result().status) == (200, 200)
    assert "stayed" in embedder.texts
    assert "left" not in embedder.texts


@contextlib.contextmanager
def impatient(port: int, text: str) -> Iterator[None]:
    """A client that asks, and hangs up at the end of the context without reading."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"input": text, "model": NAME})
    connection.request("POST", "/v1/embeddings", body, {"Content-Type": "application/json"})
    try:
        yield
    finally:
        connection.close()
