"""HTTP itself: hosts, keys, bodies too large or too slow, and bytes that are no HTTP."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from embedsweep.serving.limits import Limits
from tests.integration.serving_twins import (
    NAME,
    Answer,
    MemoryRegistry,
    call,
    embed,
    serving,
    shelf_of,
)

CAP = 20_000
LIMITS = Limits(body_bytes=CAP, body_seconds=0.5)
KEYS = frozenset({"first-key", "second-key"})


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    registry = MemoryRegistry()
    registry.crown_new()
    return shelf_of(registry, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def port(shelf) -> Iterator[int]:
    with serving(shelf, LIMITS, names=frozenset({"emb.example.com"})) as port:
        yield port


@pytest.fixture(scope="module")
def locked_port(shelf) -> Iterator[int]:
    with serving(shelf, LIMITS, KEYS) as port:
        yield port


class Wire:
    """A connection on which bytes are sent as they are and replies are read one by one."""

    def __init__(self, connection: socket.socket, received: BinaryIO) -> None:
        self._connection = connection
        self._received = received

    def send(self, sent: bytes) -> None:
        self._connection.sendall(sent)

    def answer(self) -> Answer:
        status = self._received.readline().split()
        headers = {}
        while line := self._received.readline().strip().decode("latin-1"):
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = self._received.read(int(headers.get("content-length", 0)))
        return Answer(int(status[1]), headers, json.loads(body or b"null"))

    def is_closed(self) -> bool:
        return self._received.read(1) == b""


@contextlib.contextmanager
def connected(port: int) -> Iterator[Wire]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        connection.makefile("rb") as received,
    ):
        yield Wire(connection, received)


def head(port: int, *headers: str, path: str = "/v1/embeddings") -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")


def body_of(size: int) -> bytes:
    """A request's body of so many bytes."""
    frame = json.dumps({"input": "x", "model": NAME, "user": ""}).encode()
    return frame.replace(b'"user": ""', b'"user": "' + b"u" * (size - len(frame)) + b'"')


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("emb.example.com", 200),
        ("attacker.example", 403),
        ("10.attacker.example:{port}", 403),
        ("127.0.0.1", 403),
    ],
)
def test_the_host_header_must_be_one_of_its_own(port, host, status):
    host = host.format(port=port)
    answer = embed(port, "x", Host=host)
    assert answer.status == status
    if status == 403:
        assert answer.error == (403, "host_not_allowed", None)
    assert call(port, "GET", "/v1/models", Host=host).status == status
    assert call(port, "GET", "/healthz", Host=host).status == 200


def test_a_page_of_another_site_may_not_post(port):
    assert embed(port, "x", Origin=f"http://127.0.0.1:{port}").status == 200
    answer = embed(port, "x", Origin="http://attacker.example")
    assert answer.error == (403, "origin_not_allowed", None)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "first-key"},
        {"X_Api_Key": "first-key"},
    ],
)
def test_without_a_key_nothing_is_answered(locked_port, port, headers):
    for answer in (
        embed(locked_port, "x", **headers),
        call(locked_port, "GET", "/v1/models", **headers),
        call(locked_port, "GET", "/nope", **headers),
        call(locked_port, "POST", "/v1/embeddings?api_key=first-key", {"input": "x"}, **headers),
    ):
        assert answer.error == (401, "invalid_api_key", None)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "first-key" not in json.dumps(answer.body)
    # The control: where no key is asked for, the same request is answered.
    assert embed(port, "x", **headers).status == 200


def test_each_key_opens(locked_port):
    for key in KEYS:
        assert embed(locked_port, "x", Authorization=f"Bearer {key}").status == 200


def test_probes_need_no_key(locked_port):
    assert call(locked_port, "GET", "/healthz").body == {"status": "ok"}
    ready = call(locked_port, "GET", "/readyz")
    assert (ready.status, ready.body["degraded"], ready.body["champions"]) == (
        200,
        False,
        {NAME: 1},
    )


@pytest.mark.parametrize(("size", "status"), [(CAP, 200), (CAP + 1, 413), (10 * CAP, 413)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_is_bounded_with_and_without_a_length(port, size, status, is_chunked):
    body = body_of(size)
    pieces = (body[start : start + 4096] for start in range(0, size, 4096))
    answer = call(port, "POST", "/v1/embeddings", pieces if is_chunked else body)
    assert answer.status == status
    if status == 413:
        assert answer.error == (413, "body_too_large", None)


def test_a_body_announced_too_large_is_refused_unread(port):
    with connected(port) as wire:
        wire.send(head(port, f"Content-Length: {10**12}", "Expect: 100-continue"))
        assert wire.answer().error == (413, "body_too_large", None)


def test_an_endless_body_is_refused_before_it_ends(port):
    chunk = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    with connected(port) as wire:
        wire.send(head(port, "Transfer-Encoding: chunked") + chunk * 6)
        assert wire.answer().error == (413, "body_too_large", None)


def test_who_waits_to_be_told_to_continue_is_told(port):
    body = body_of(200)
    with connected(port) as wire:
        wire.send(head(port, f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert wire.answer().status == 100
        wire.send(body)
        assert wire.answer().status == 200


def test_a_slow_body_is_given_up_and_blocks_nobody(port):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(port)) for _ in range(20)]
        for wire in slow:
            wire.send(head(port, "Content-Length: 100") + b"{")
        assert embed(port, "x").status == 200
        assert call(port, "GET", "/healthz").status == 200
        for wire in slow:
            answer = wire.answer()
            assert answer.error == (408, "body_timeout", None)
            assert wire.is_closed()


def test_headers_are_bounded_however_they_arrive(port):
    assert embed(port, "x", X_Long="x" * 10_000).status == 200
    assert embed(port, "x", X_Long="x" * 100_000).error == (431, "headers_too_large", None)
    with connected(port) as wire:
        wire.send(head(port)[:-2] + b"X-Long: " + b"x" * 20_000)
        assert wire.answer().error == (431, "headers_too_large", None)


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "a blank in a name": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a negative length": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_told_so_in_json(port, sent):
    with connected(port) as wire:
        wire.send(sent)
        assert wire.answer().error == (400, "invalid_http", None)
        assert wire.is_closed()


def test_a_broken_chunk_ends_the_request(port):
    with connected(port) as wire:
        wire.send(head(port, "Transfer-Encoding: chunked") + b"zz\r\n")
        assert wire.answer().error == (400, "invalid_http", None)


def test_a_length_too_short_leaves_no_second_request(port):
    body = body_of(200)
    with connected(port) as wire:
        wire.send(head(port, "Content-Length: 100") + body + b"\r\n\r\n")
        assert wire.answer().error == (400, "invalid_json", None)
        assert wire.answer().error == (400, "invalid_http", None)


def test_clients_that_hang_up_leave_no_trace(port, caplog):
    with caplog.at_level(logging.WARNING):
        for sent in (head(port, "Content-Length: 100") + b"{", head(port)[:20], b""):
            for _ in range(30):
                with connected(port) as wire:
                    wire.send(sent)
        whole = body_of(200)
        for _ in range(30):
            with connected(port) as wire:
                wire.send(head(port, f"Content-Length: {len(whole)}") + whole)
        assert embed(port, "x").status == 200
    assert caplog.messages == []


def test_a_connection_serves_one_request_after_another(port):
    whole = body_of(200)
    request = head(port, f"Content-Length: {len(whole)}") + whole
    with connected(port) as wire:
        for _ in range(3):
            wire.send(request)
            assert wire.answer().status == 200
