"""Reading a text file once, line by line: what it may be, and the digest of what was read."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import itertools
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from embedsweep.core.errors import DataError
from embedsweep.data.faults import FaultLog
from embedsweep.data.foreign import HEAD_BYTES, foreign

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is refused, so that a file without line ends cannot fill the memory."""

GZIP_MAGIC = b"\x1f\x8b"
_WIDE_MARKS = {  # the marks of UTF-32 begin with those of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class _HashingReader(io.RawIOBase):
    """Passes bytes through and hashes them."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = cast(io.FileIO, raw)
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        count = self._raw.readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:count])
        return count


class _Recoded(io.RawIOBase):
    """The UTF-8 bytes of a stream in another encoding."""

    def __init__(self, raw: io.BufferedIOBase, encoding: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._left and not self._ended:
            chunk = self._raw.read(io.DEFAULT_BUFFER_SIZE)
            self._ended = not chunk
            text = self._decoder.decode(chunk, final=self._ended)
            self._left = text.encode("utf-8", "surrogatepass")
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class DataFile:
    """A file that data is read from.

    Attributes:
        path: As the user gave it.
        sha256: Digest of the bytes on disk; empty until the file has been read to its end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sha256 = ""

    @property
    def name(self) -> str:
        return str(self.path)

    def verify(self) -> None:
        """Raise `DataError` unless the file still has the bytes that were read."""
        try:
            with self.path.open("rb") as raw:
                now = hashlib.file_digest(raw, "sha256").hexdigest()
        except OSError as error:
            now = f"unreadable, {_reason(error)}"
        if now != self.sha256:
            raise DataError(
                "file",
                self.name,
                f"digest changed since it was checked ({self.sha256[:12]} → {now[:12]})",
                "put the file back as it was, or sweep again on the new one",
            )


class TextFile(DataFile):
    """A text file in UTF-8, or with a byte order mark in UTF-16 or UTF-32, plain or gzip.

    The content decides about the encoding and the compression, not the name.
    """

    def lines(self, faults: FaultLog) -> Iterator[tuple[int, str]]:
        """Yield (line number from 1, text with its line end), and log what cannot be read.

        A line that is not clean UTF-8 is logged and left out. A file that cannot be opened, that
        breaks off or that holds no line with text is logged too.
        """
        if (refusal := self._refusal()) is not None:
            faults.add("file", self.name, *refusal)
            return
        number, before = 0, faults.total
        try:
            with self.path.open("rb") as raw:
                reader = _HashingReader(raw)
                any_text = False
                stream = _unzipped(reader)
                kind = foreign(stream.peek(HEAD_BYTES)[:HEAD_BYTES], self.path)
                if kind is not None:
                    faults.add("file", self.name, f"it is {kind.what}", kind.fix)
                    return
                for number, text in self._decoded(_in_utf8(stream), faults):
                    any_text = any_text or bool(text.strip())
                    yield number, text
                self.sha256 = reader.digest.hexdigest()
        except (OSError, EOFError, UnicodeError, zlib.error) as error:
            why = f"reading broke off: {_reason(error)}"
            faults.add("file", self.name, why, "make the file whole again", number + 1)
            return
        if not any_text and faults.total == before:
            size = "0 bytes" if number == 0 else f"{number} lines, all blank"
            faults.add("file", self.name, f"no records: {size}", "give a file with rows in it")

    def _refusal(self) -> tuple[str, str] | None:
        """Why the path cannot be read as a file and what to do; None if it can."""
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            return "there is no such file", "correct the path under data"
        except OSError as error:
            return f"it cannot be read: {_reason(error)}", "give a path that can be read"
        if stat.S_ISDIR(mode):
            return (
                "it is a folder, not a file",
                "give the file inside it (a BEIR folder goes to beir)",
            )
        if not stat.S_ISREG(mode):
            return "it is no regular file (a pipe, a socket or a device)", "give a regular file"
        return None

    def _decoded(self, stream: io.BufferedReader, faults: FaultLog) -> Iterator[tuple[int, str]]:
        offset = 0
        for number in itertools.count(1):
            raw = stream.readline(MAX_LINE_BYTES + 1)
            if not raw:
                return
            if number == 1:
                mark = len(codecs.BOM_UTF8) if raw.startswith(codecs.BOM_UTF8) else 0
                raw, offset = raw[mark:], mark
            if len(raw) > MAX_LINE_BYTES:
                why = f"the line is longer than {MAX_LINE_BYTES // 1024 // 1024} MiB"
                faults.add("line", self.name, why, "write one record per line", number)
                return
            text = self._line(raw, number, offset, faults)
            if text is not None:
                yield number, text
            offset += len(raw)

    def _line(self, raw: bytes, number: int, offset: int, faults: FaultLog) -> str | None:
        zero = raw.find(0)
        if zero >= 0:
            why = f"NUL at byte offset {offset + zero}, expected text in UTF-8"
            faults.add("encoding", self.name, why, "save the file as UTF-8 without NULs", number)
            return None
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            seen = raw[error.start]
            why = f"byte 0x{seen:02x} at byte offset {offset + error.start} is not UTF-8"
            fix = "save the file as UTF-8, which Excel calls CSV UTF-8"
            faults.add("encoding", self.name, why, fix, number)
            return None


def _unzipped(reader: _HashingReader) -> io.BufferedReader:
    buffered: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, reader))
    if buffered.peek(2)[:2] == GZIP_MAGIC:
        return io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=buffered)))
    return buffered


def _in_utf8(stream: io.BufferedReader) -> io.BufferedReader:
    head = stream.peek(4)
    for mark, encoding in _WIDE_MARKS.items():
        if head.startswith(mark):
            return io.BufferedReader(_Recoded(stream, encoding))
    return stream


def is_folder(path: Path) -> bool:
    """Return whether there is a folder at the path, as far as can be seen."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
