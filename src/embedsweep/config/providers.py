"""How the file names a provider: by a word or an address, and the variable that holds its key.

The key itself never stands in the file, and what looks like one is never shown again.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ValidationInfo

from embedsweep.config.fields import text
from embedsweep.config.refusal import Reading, refused

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,99}")
_KEY_VARIABLE_ENDS = ("_KEY", "_TOKEN")
_METADATA_HOSTS = frozenset({"metadata.google.internal", "metadata", "fd00:ec2::254"})
"""Under which clouds tell their machines' secrets to whoever asks from inside, beside the
link-local addresses."""

# Clients read some other characters as these: an ideographic full stop as a dot, for one.
_HOST = re.compile(r"[a-z0-9_.:-]+")

OPENAI_HOST = "api.openai.com"
_EXAMPLE = "write a URL such as http://gpu-machine:8000/v1"


def _base_url(value: object, info: ValidationInfo[Reading]) -> str:
    written = text(value, info).strip().rstrip("/")
    try:
        parts = urlsplit(written)
        _ = parts.port
    except ValueError:
        raise refused("this is no URL", _EXAMPLE) from None
    if parts.scheme not in ("http", "https"):
        why = "it begins with neither http:// nor https://"
        raise refused(why, _EXAMPLE)
    if parts.username is not None or parts.password is not None:
        fix = "remove it, and name the variable that holds the key in api_key_env"
        raise refused(f"a user or a password stands before {parts.hostname or 'the host'}", fix)
    if "?" in written or "#" in written:
        raise refused("a query or a fragment stands behind the path", "end the URL with the path")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise refused("it names no host", _EXAMPLE)
    if host == OPENAI_HOST:
        raise refused("this is OpenAI's own address", "write provider: openai instead")
    if _is_metadata(host):
        why = f"{host} is a cloud's own address, which tells a machine its secrets"
        raise refused(why, "write the address of the server that embeds")
    if not _HOST.fullmatch(host):
        why = f"the host {host!a:.80} is more than letters, digits, dots, - and _"
        raise refused(why, "write it as it is looked up, such as xn--mnchen-3ya.example")
    return written


def _is_metadata(host: str) -> bool:
    try:
        # Reads every way to write an IPv4 address, such as 2852039166.
        address = ipaddress.ip_address(host if ":" in host else socket.inet_aton(host))
    except (OSError, ValueError):
        return host in _METADATA_HOSTS
    if str(address) in _METADATA_HOSTS:
        return True
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_link_local)


def _key_variable(value: object) -> str:
    if (
        not isinstance(value, str)
        or not _VARIABLE.fullmatch(value)
        or not value.endswith(_KEY_VARIABLE_ENDS)
    ):
        ends = " or ".join(_KEY_VARIABLE_ENDS)
        why = f"this is no variable's name of capitals, digits and _ that ends in {ends}"
        raise refused(why, "name the variable, such as TEAM_API_KEY, and put the key into it")
    return value


ProviderName = Literal["openai", "loopback"]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
KeyVariable = Annotated[str, BeforeValidator(_key_variable)]
