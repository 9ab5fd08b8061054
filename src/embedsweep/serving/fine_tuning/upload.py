"""A multipart upload, parsed as it arrives, its file written to the disk piece by piece."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from embedsweep.serving.errors import ApiError
from embedsweep.serving.fine_tuning.file_store import Arrived, sync
from embedsweep.serving.fine_tuning.records import Purpose

FIELD_BYTES = 1024
PARTS = 16
FRAME_BYTES = 64 * 1024
"""What a body may have beside the file: boundaries, headers and the other fields."""

SHORTEST_LIFE, LONGEST_LIFE = 3600, 30 * 24 * 3600
"""OpenAI's bounds of ``expires_after[seconds]``."""

_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class Upload:
    """One request's body. Not safe from several threads at once.

    Args:
        content_type: The request's header, which names the boundary.
        path: Where the file's content goes.
        limit: Bytes the file may have.

    Raises:
        ApiError: 400 when the body is no multipart form.
    """

    def __init__(self, content_type: str, path: Path, limit: int) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise _no_form("the header Content-Type is not that of a multipart form")
        self._path = path
        self._limit = limit
        self._size = 0
        self._parts = 0
        self._is_whole = False
        self._filename: str | None = None
        self._fields: dict[str, bytearray] = {}
        self._field: bytearray | None = None
        self._header = bytearray()
        self._value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._parser = self._parser_of(options[b"boundary"])
        self._file = path.open("wb")

    def _parser_of(self, boundary: bytes) -> MultipartParser:
        try:
            return MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header.extend(
                        data[start:end]
                    ),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_content,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _no_form(str(error)) from None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            ApiError: 400 when they are no multipart form, 413 when the file has grown too large.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _no_form(str(error)) from None

    def arrived(self) -> Arrived:
        """The file and what is said of it, once the body has ended.

        Raises:
            ApiError: 400 when something is missing or is not what it should be.
        """
        if not self._is_whole:
            raise _no_form("it breaks off")
        fields = {name: value.decode("utf-8", "replace") for name, value in self._fields.items()}
        if self._filename is None:
            raise ApiError(400, "missing_required_parameter", "file: is required", "file")
        if self._size == 0:
            raise ApiError(400, "invalid_value", "file: is empty", "file")
        purpose = fields.get("purpose")
        if purpose is None:
            raise ApiError(400, "missing_required_parameter", "purpose: is required", "purpose")
        if purpose != Purpose.FINE_TUNE:
            message = f"purpose: is {purpose[:100]!r}, only 'fine-tune' is taken here"
            raise ApiError(400, "invalid_value", message, "purpose")
        lifetime = _lifetime(fields)
        sync(self._file)
        return Arrived(self._path, self._size, self._filename, Purpose.FINE_TUNE, lifetime)

    def close(self) -> None:
        """Let go of the file; what was not taken in by then is removed."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise _no_form(f"it has more than {PARTS} parts")
        self._headers = {}

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._field = self._fields.setdefault(name, bytearray())
            return
        if name != "file" or self._filename is not None:
            raise ApiError(400, "invalid_value", "file: send one file, in the field 'file'", "file")
        given = options[b"filename"].decode("utf-8", "replace")
        self._filename = PurePosixPath(given.replace("\\", "/")).name[-255:] or "file"
        self._field = None

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._size += end - start
            if self._size > self._limit:
                raise too_large(self._limit)
            self._file.write(data[start:end])
            return
        if len(self._field) + end - start > FIELD_BYTES:
            raise _no_form(f"a field has more than {FIELD_BYTES} bytes")
        self._field += data[start:end]

    def _end(self) -> None:
        self._is_whole = True


def too_large(limit: int) -> ApiError:
    message = f"the file has more than {limit} bytes, which is all that is taken"
    return ApiError(413, "file_too_large", message, "file")


def _no_form(why: str) -> ApiError:
    message = f"send a multipart form with the fields 'file' and 'purpose': {why}"
    return ApiError(400, "invalid_multipart", message)


def _lifetime(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get(_ANCHOR), fields.get(_SECONDS)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise ApiError(400, "invalid_value", f"{_ANCHOR}: must be 'created_at'", _ANCHOR)
    if (
        seconds is None
        or not (seconds.isascii() and seconds.isdigit())
        or not SHORTEST_LIFE <= int(seconds[:20]) <= LONGEST_LIFE
    ):
        message = f"{_SECONDS}: must be a whole number from {SHORTEST_LIFE} to {LONGEST_LIFE}"
        raise ApiError(400, "invalid_value", message, _SECONDS)
    return int(seconds)
