"""Who is let near: addresses, keys, Host and Origin headers, the place in the line."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from embedsweep.core.errors import StoreError, UsageError
from embedsweep.serving.address import Address, check_access, listener_at
from embedsweep.serving.errors import ApiError
from embedsweep.serving.gate import Gate
from embedsweep.serving.guards import header_guard, host_guard, key_guard
from tests.refusals import refusal

OPEN = frozenset[str]()
HOSTS = Address(names=frozenset({"emb.example.com"})).hosts(8000)


def verdict(guard, method: str = "POST", path: str = "/v1/embeddings", **headers: str) -> int:
    """The status a guard refuses with, or 200."""
    sent = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    try:
        guard({"type": "http", "method": method, "path": path}, sent)
    except ApiError as error:
        return error.status
    return 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("LocalHost:8000", 200),
        ("[::1]:8000", 200),
        ("emb.example.com", 200),
        ("emb.example.com:8000", 200),
        ("127.0.0.1", 403),
        ("127.0.0.1:8001", 403),
        ("127.0.0.1.attacker.example:8000", 403),
        ("10.attacker.example:8000", 403),
        ("sub.emb.example.com:8000", 403),
        ("emb.example.com.attacker.example", 403),
        ("localhost:8000@attacker.example", 403),
        ("0.0.0.0:8000", 403),
        ("*", 403),
        ("", 403),
    ],
)
def test_only_its_own_names_are_answered_to(host, status):
    assert verdict(host_guard(HOSTS), host=host) == status
    assert verdict(host_guard(HOSTS), method="GET", host=host) == status
    assert verdict(host_guard(frozenset({host})), host=host) == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://emb.example.com", 200),
        ("http://attacker.example", 403),
        ("http://127.0.0.1:3000", 403),
        ("http://[::1", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_sites_may_not_post(origin, status):
    guard = host_guard(HOSTS)
    assert verdict(guard, host="localhost:8000", origin=origin) == status
    assert verdict(guard, method="GET", host="localhost:8000", origin=origin) == 200


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer first-key", 200),
        ("bearer second-key", 200),
        ("Bearer  first-key ", 200),
        ("Bearer first-ke", 401),
        ("Bearer first-key2", 401),
        ("Bearer FIRST-KEY", 401),
        ("Bearer first-key second-key", 401),
        ("Basic first-key", 401),
        ("first-key", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        ("Bearer \xff", 401),
        ("", 401),
    ],
)
def test_a_key_must_be_whole_and_sent_as_bearer(authorization, status):
    guard = key_guard(frozenset({"first-key", "second-key"}))
    assert verdict(guard, authorization=authorization) == status
    assert verdict(key_guard(OPEN), authorization=authorization) == 200


def test_supervisors_need_neither_key_nor_host():
    for guard in (key_guard(frozenset({"k"})), host_guard(HOSTS)):
        assert verdict(guard, method="GET", path="/healthz", host="10.0.0.7") == 200
        assert verdict(guard, method="GET", path="/readyz", host="10.0.0.7") == 200
        assert verdict(guard, method="GET", path="/v1/models", host="10.0.0.7") in (401, 403)


def test_headers_are_bounded_by_their_sum():
    assert verdict(header_guard(10), ab="x" * 8) == 200
    assert verdict(header_guard(10), ab="x" * 9) == 431
    assert verdict(header_guard(10), ab="xxx", cd="xxxx") == 431


def test_the_address_listened_on_is_a_host_too():
    assert "192.168.1.5:9000" in Address("192.168.1.5").hosts(9000)
    assert "[fd00::5]:9000" in Address("fd00::5").hosts(9000)
    assert {"localhost", "localhost:80"} <= Address().hosts(80)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1"])
def test_loopback_needs_no_key(host):
    assert refusal(check_access, Address(host), OPEN) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "fd00::5", "emb.example.com", ""])
def test_others_reach_in_with_a_key_only(host):
    check_access(Address(host), frozenset({"a-key"}))
    with pytest.raises(UsageError, match=r"other machines can reach it.* Fix: set an API key"):
        check_access(Address(host), OPEN)


@pytest.mark.parametrize("key", ["", " ", "a b", "line\nbreak", "sch\u00fc", "tab\t"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    with pytest.raises(UsageError, match="unfit API key") as caught:
        check_access(Address(), frozenset({"good", key}))
    assert not key.strip() or key not in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(UsageError) as caught:
        check_access(Address("0.0.0.0", 70000), OPEN)
    assert [fault.what for fault in caught.value.faults] == ["no such port", "no API key"]


def test_a_port_in_use_is_named():
    with listener_at(Address(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StoreError, match=f"port {port} is in use") as caught:
            listener_at(Address(port=port))
    assert caught.value.exit_code == 4
    listener_at(Address(port=port)).close()


def test_a_port_below_1024_needs_the_right_to_it():
    lowest = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not lowest.is_file() or int(lowest.read_text()) < 1024:
        pytest.skip("on this machine everybody may have every port")
    user = os.geteuid()
    if user == 0:  # root may, so another user asks
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"port 81 is not allowed.* from 1024 on") as caught:
            listener_at(Address(port=81))
    finally:
        os.seteuid(user)
    assert caught.value.exit_code == 4


def test_connections_do_not_wait_to_fill_a_packet():
    with listener_at(Address(port=0)) as listener, socket.create_server(("127.0.0.1", 0)) as plain:
        assert accepted_option(listener, socket.TCP_NODELAY) != 0
        assert accepted_option(plain, socket.TCP_NODELAY) == 0, "the control"


def accepted_option(listener: socket.socket, option: int) -> int:
    with socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            return connection.getsockopt(socket.IPPROTO_TCP, option)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(StoreError, match="no such address"):
        listener_at(Address("192.0.2.1", 0))


def test_a_name_that_is_no_address_is_refused():
    with pytest.raises(StoreError, match="no such address"):
        listener_at(Address("no.such.host.invalid", 0))


def test_ipv6_is_listened_on_where_there_is_any():
    try:
        # Asked of the system and not of our own code, whose failure would pass for a lack of IPv6.
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener_at(Address("::1", 0)) as listener:
        assert listener.family == socket.AF_INET6


def test_no_more_are_in_flight_than_may_embed_and_wait():
    async def story() -> list[int]:
        gate = Gate(concurrent=2, waiting=3)
        leave = asyncio.Event()

        async def visit() -> int:
            try:
                async with gate.turn():
                    await leave.wait()
            except ApiError as error:
                return error.status
            return 200

        visits = [asyncio.create_task(visit()) for _ in range(8)]
        await asyncio.sleep(0)
        assert gate.in_flight == 5
        leave.set()
        statuses = await asyncio.gather(*visits)
        assert gate.in_flight == 0
        gate.close()
        return [*statuses, await visit()]

    assert asyncio.run(story()) == [200] * 5 + [429] * 3 + [503]


def test_who_leaves_the_line_gives_up_the_place():
    async def story() -> None:
        gate = Gate(concurrent=1, waiting=1)

        async def visit() -> None:
            async with gate.turn():
                await asyncio.Event().wait()

        visits = [asyncio.create_task(visit()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in visits:
            task.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert gate.in_flight == 0
        async with gate.turn():
            assert await gate.compute(lambda: 7) == 7

    asyncio.run(story())
