"""Files that are no text: what they are, and what to do about each."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from embedsweep.data.text import shorten

HEAD_BYTES = 512
PARQUET, ARROW = b"PAR1", b"ARROW1"

_UNPACK = "unpack it and give the file inside"
_AS_CSV = "open it in the program that wrote it and save the sheet as CSV"
_SHOWN_MEMBERS = 3


class Foreign(NamedTuple):
    """What a file is, as a noun with its article, and the way out as an imperative."""

    what: str
    fix: str


_STARTS = {
    b"version https://git-lfs": Foreign(
        "a Git LFS pointer, not the data itself", "fetch the data with 'git lfs pull'"
    ),
    b"BZh": Foreign("compressed with bzip2", "unpack it with 'bunzip2', or compress it with gzip"),
    b"\xfd7zXZ\0": Foreign("compressed with xz", "unpack it with 'unxz', or compress it with gzip"),
    b"\x28\xb5\x2f\xfd": Foreign(
        "compressed with Zstandard", "unpack it with 'unzstd', or compress it with gzip"
    ),
    b"7z\xbc\xaf\x27\x1c": Foreign("a 7-Zip archive", _UNPACK),
    b"Rar!": Foreign("a RAR archive", _UNPACK),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Foreign("an Excel workbook (.xls)", _AS_CSV),
    b"%PDF": Foreign("a PDF document", "give a file of rows, such as CSV or JSON Lines"),
    b"SQLite format 3\0": Foreign("an SQLite database", "export the table as CSV"),
    b"\x93NUMPY": Foreign("a NumPy array", "write the texts as CSV or JSON Lines"),
    b"ORC": Foreign("an ORC table", "write the table as Parquet"),
    PARQUET: Foreign("a Parquet table, where text is expected", "write the rows as JSON Lines"),
    ARROW: Foreign("an Arrow table, where text is expected", "write the rows as JSON Lines"),
}
_OFFICE = {
    "xl/": Foreign("an Excel workbook (.xlsx)", _AS_CSV),
    "word/": Foreign("a Word document (.docx)", "save the table as CSV"),
    "content.xml": Foreign("an OpenDocument file, such as a Calc sheet (.ods)", _AS_CSV),
}
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|\?xml)\b", re.I)
_TAR_MARK = slice(257, 262)


def foreign(head: bytes, path: Path) -> Foreign | None:
    """Return what the file is if it is a known kind that is no text, or None.

    Args:
        head: First bytes of the content, up to `HEAD_BYTES`, uncompressed if the file is gzip.
        path: Path of the file, whose directory is read if it is a ZIP archive.
    """
    if head.startswith(b"PK\x03\x04") or head.startswith(b"PK\x05\x06"):
        return _zip(path)
    if head[_TAR_MARK] == b"ustar":
        return Foreign("a tar archive", "unpack it with 'tar -xf' and give the file inside")
    if _MARKUP.match(head):
        kind = "an XML document" if b"<?xml" in head and b"html" not in head.lower() else None
        return Foreign(
            kind or "an HTML page, such as a login or error page saved instead of the data",
            "download the data file itself" if kind is None else "write the rows as JSON Lines",
        )
    return next((kind for start, kind in _STARTS.items() if head.startswith(start)), None)


def _zip(path: Path) -> Foreign:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
    except (OSError, zipfile.BadZipFile):  # it may be cut off, or lie inside a gzip file
        members = []
    for part, kind in _OFFICE.items():
        if any(name.startswith(part) for name in members):
            return kind
    shown = ", ".join(members[:_SHOWN_MEMBERS]) + (", …" if members[_SHOWN_MEMBERS:] else "")
    what = "a ZIP archive" + (f" of {len(members)} files ({shorten(shown)})" if members else "")
    return Foreign(what, "unpack it with 'unzip' and give the file or folder inside")
