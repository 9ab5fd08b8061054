"""Addresses and names of stores: what is well formed, and what of it may be shown."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from embedsweep.core.errors import UsageError

NAME_RULE = "1 to 100 of the characters A-Z, a-z, 0-9, '_', '-' and '.', and neither '.' nor '..'"
ALIAS_RULE = "1 to 255 of the characters A-Z, a-z, 0-9, '_' and '-', not 'latest' and not 'v1'"

DATABASE_URL = "write sqlite:///FILE or postgresql://USER@HOST/DATABASE"
"""What to do about an address that is no database of ours."""

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,100}")
_ALIAS = re.compile(r"(?!(?i:latest|v[0-9]+)$)[A-Za-z0-9_-]{1,255}")
_VERSION = r"(?P<name>[^/@]+)(?:/(?P<number>[0-9]{1,9})|@(?P<alias>[^/@]+))"
_REFERENCE = re.compile(
    rf"models:/(?:(?P<id>m-[0-9a-f]{{32}})|{_VERSION})|runs:/(?P<run>[0-9a-f]{{32}})"
)
_SECRETS = (
    (re.compile(r"(https?://)[^/\s]*@"), r"\1***@"),
    # A database password may hold a slash: SQLAlchemy reads it up to the at sign.
    (re.compile(r"((?!https?://)\b[\w+]+://[^/@:\s]*):\S*@"), r"\1:***@"),
    (re.compile(r"(?i)([?&](?:\w*password|passwd|pwd|\w*token|\w*secret)=)[^&\s'\"]+"), r"\1***"),
)


def masked(text: str) -> str:
    """The text with the secrets of every address in it replaced by ``***``."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def check_name(name: str, what: str) -> None:
    """Refuse a name that a store, a file system or an address could not hold.

    Args:
        name: The name.
        what: What it names, such as ``model``.

    Raises:
        UsageError: It breaks `NAME_RULE`.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{what} name {name[:120]!r}",
            "the names of a store",
            f"it has {len(name)} characters; a name is {NAME_RULE}",
            f"choose another {what} name",
        )


def check_alias(alias: str) -> None:
    """Refuse what MLflow takes for no alias: `UsageError` with `ALIAS_RULE`."""
    if not _ALIAS.fullmatch(alias):
        raise UsageError(
            f"alias {alias[:120]!r}",
            "the registry",
            f"an alias is {ALIAS_RULE}",
            "use champion, previous, challenger or a version number",
        )


@dataclass(frozen=True)
class Reference:
    """What a model reference names: one of `model_id`, `run_id`, or `name` with what follows it."""

    model_id: str = ""
    run_id: str = ""
    name: str = ""
    alias_or_number: str = ""


def parse_reference(text: str) -> Reference:
    """Read a model reference.

    Args:
        text: ``models:/m-…``, ``models:/name/3``, ``models:/name@champion`` or ``runs:/…``.

    Raises:
        UsageError: It is of another form.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"model reference {text[:200]!r}",
            "the registry",
            "expected models:/m-…, models:/name/3, models:/name@champion or runs:/ and a run's id",
            "write one of these",
        )
    return Reference(
        model_id=match["id"] or "",
        run_id=match["run"] or "",
        name=match["name"] or "",
        alias_or_number=match["number"] or match["alias"] or "",
    )


def at_store(address: str, command: str) -> str:
    """The `mlflow` command in backquotes, with the variable that tells it which store to use.

    An address with a password is in the environment already: files and options do not take it.
    """
    told = "" if masked(address) != address else f"MLFLOW_TRACKING_URI={shlex.quote(address)} "
    return f"`{told}{command}`"


def scheme_of(address: str) -> str:
    """The address's scheme without its driver: ``postgresql`` of ``postgresql+psycopg://…``."""
    scheme, found, _ = address.partition("://")
    return scheme.partition("+")[0].lower() if found else ""


def sqlite_file(address: str) -> Path:
    """The file of a ``sqlite:///`` address, as an absolute path.

    Raises:
        UsageError: The address names no file.
    """
    try:
        file = make_url(address).database
    except ArgumentError:
        file = None
    if not file or file == ":memory:":
        raise UsageError(
            f"database address {masked(address)!r}",
            "the settings of the stores",
            "it names no file",
            "write sqlite:///FILE",
        )
    return Path(file).absolute()
