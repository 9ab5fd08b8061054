"""Small text files that the user wrote, read whole or refused with the path shown."""

from __future__ import annotations

import re
from pathlib import Path

from embedsweep.core.errors import UsageError

SIZE_LIMIT = 200_000
"""Bytes; a file a person wrote to set something up is far smaller."""

# A password may hold what belongs escaped; a port before a path and a variable are no passwords.
_SECRET = re.compile(
    r"(?<=://)([^/?#@\s:]*):(?!\d+/)(?!\$\{[^{}]*\}@)\S+@"
    r"|([?&](?:password|passwd|token)=)[^&\s]+"
)


def masked(text: str) -> str:
    """The text with the passwords of the URLs in it replaced by ``***``."""
    return _SECRET.sub(lambda found: found[2] + "***" if found[2] else f"{found[1]}:***@", text)


def holds_secret(text: str) -> bool:
    """Whether a URL in the text carries a password."""
    return masked(text) != text


def read_text(path: Path, kind: str) -> str:
    """The file's text, without a byte order mark.

    Args:
        path: A regular file of UTF-8 text, at most `SIZE_LIMIT` bytes.
        kind: What the file is to the user, such as ``experiment file``.

    Raises:
        UsageError: The file is missing, no regular file, not readable, too large or not UTF-8.
    """
    where = str(path)
    try:
        if path.is_dir():
            fix = f"name the {kind} in it"
            raise UsageError(kind, where, "this is a folder, expected a file", fix)
        if path.exists() and not path.is_file():
            # A pipe or a device would never end.
            raise UsageError(kind, where, "this is no regular file", "name a file on disk")
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        fix = "check the path; it is relative to the current directory"
        raise UsageError(kind, where, "there is no such file", fix) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(kind, where, f"it cannot be read: {reason}", "make it readable") from error
    if len(content) > SIZE_LIMIT:
        why = f"it is larger than {SIZE_LIMIT} bytes, too large for this kind of file"
        raise UsageError(kind, where, why, f"name the {kind}, not its data")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        why = f"byte {error.start} is not UTF-8 text"
        raise UsageError(kind, where, why, "save the file as UTF-8", line) from None
