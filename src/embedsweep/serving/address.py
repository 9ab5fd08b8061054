"""Where the service listens, under what names, and whom that lets near."""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from embedsweep.core.errors import Fault, StoreError, UsageError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HTTP_PORT = 80


@dataclass(frozen=True)
class Address:
    """Where to listen.

    Attributes:
        host: An IP address or ``localhost``.
        port: 0 for any free one.
        names: Further Host headers to answer to, such as the name a proxy passes on.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: frozenset[str] = frozenset()

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def bracketed(self) -> str:
        """The host as a URL has it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def hosts(self, port: int) -> frozenset[str]:
        """The Host headers to answer to, once the port is known."""
        names = {*LOOPBACK, self.bracketed, *self.names}
        bare = names if port == HTTP_PORT else self.names
        return frozenset(bare | {f"{name}:{port}" for name in names})


_ANOTHER_PORT = "choose another port from 1024 on, or 0 for any"

API_KEYS = "EMBEDSWEEP_API_KEYS"
"""The environment variable with the keys that clients may show, separated by commas."""


def check_access(address: Address, api_keys: frozenset[str]) -> None:
    """Raise `UsageError` for an unfit port or key, and for an open door without any key."""
    faults = []
    if not 0 <= address.port <= 65535:
        why = f"it is {address.port}, expected 0 to 65535"
        faults.append(Fault("no such port", "the port", why, _ANOTHER_PORT))
    if any(not key or not all("!" <= char <= "~" for char in key) for key in api_keys):
        why = "one is empty or holds other than visible ASCII, which no HTTP header can carry"
        faults.append(Fault("unfit API key", "the API keys", why, "make another key"))
    if not address.is_loopback and not api_keys:
        faults.append(
            Fault(
                "no API key",
                f"the host {address.host!r}",
                "other machines can reach it, and no API key is set",
                f"set an API key in {API_KEYS}, or listen on 127.0.0.1",
            )
        )
    if faults:
        raise UsageError.of(faults)


def listener_at(address: Address) -> socket.socket:
    """A socket that listens there; raises `StoreError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        what, fix = {
            errno.EADDRINUSE: (f"port {address.port} is in use", _ANOTHER_PORT),
            errno.EACCES: (f"port {address.port} is not allowed", _ANOTHER_PORT),
        }.get(error.errno or 0, ("no such address", "choose an address of this machine"))
        where = f"{address.bracketed}:{address.port}"
        raise StoreError(what, where, (error.strerror or str(error)).lower(), fix) from error
    # A reply goes out in two writes. Connections inherit this; without it the second write would
    # wait, some 40 ms, until the client has acknowledged the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
