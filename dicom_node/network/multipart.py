"""multipart/related, read as it comes (PS3.18, 8.6.1.2; RFC 2387): a part is handed on piece by piece, never kept here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from dicom_node.core.errors import PeerError

#: Text before the first boundary, which nobody reads (RFC 2046, 5.1.1); more of it is no multipart message.
_MOST_PREAMBLE = 4096
#: A part that is kept in memory. Large multi-frame objects have a gigabyte; a server that never ends must not take it all.
MOST_PART_BYTES = 1 << 31


class BrokenMultipart(PeerError):
    """The bytes are no multipart message, or end before its last boundary."""


class Sink(Protocol):
    """Takes one part."""

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""

    def end(self) -> None:
        """The part is whole. Never called for one that was cut off."""


def media_type_of(header: str) -> tuple[str, dict[str, str]]:
    """Return a Content-Type's media type, in lower case, and its parameters by lower-case name."""
    message = Message()
    message["content-type"] = header
    parameters = message.get_params(failobj=[]) or []
    return message.get_content_type() if "/" in header else "", {key.lower(): value for key, value in parameters[1:]}


def boundary_of(header: str) -> str:
    """Return the boundary that a Content-Type names; empty when it is no multipart message."""
    media_type, parameters = media_type_of(header)
    return parameters.get("boundary", "") if media_type.startswith("multipart/") else ""


class MultipartReader:
    """Cuts a multipart message into its parts.

    Parameters
    ----------
    begin
        Called with a part's headers (names in lower case); returns where the part goes.
    """

    def __init__(self, boundary: str, begin: Callable[[dict[str, str]], Sink]) -> None:
        self._begin = begin
        self._first = b"--" + boundary.encode("latin-1", "replace")
        self._preamble: bytearray | None = bytearray()
        self._headers: dict[str, str] = {}
        self._name, self._value = bytearray(), bytearray()
        self._sink: Sink | None = None
        self.complete = False
        try:
            self._parser = MultipartParser(
                boundary.encode("latin-1", "replace"),
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise BrokenMultipart("the boundary is too long") from error

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the message.

        Raises
        ------
        BrokenMultipart
            They cannot be part of one.
        """
        if self._preamble is not None:
            self._preamble.extend(piece)
            start = self._preamble.find(self._first)
            if start < 0:
                if len(self._preamble) > _MOST_PREAMBLE:
                    raise BrokenMultipart("the message does not begin with its boundary")
                return
            piece, self._preamble = bytes(self._preamble[start:]), None
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise BrokenMultipart("the message is no multipart message") from error

    def finish(self) -> None:
        """Say that nothing more comes.

        Raises
        ------
        BrokenMultipart
            The last boundary is missing: the message was cut off.
        """
        if not self.complete:
            raise BrokenMultipart("the message ends before its last boundary")

    def _on_header_end(self) -> None:
        name, value = self._name.decode("latin-1").lower(), self._value.decode("latin-1").strip()
        self._headers[name] = value
        self._name.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        self._sink = self._begin(dict(self._headers))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._sink is not None:
            self._sink.write(data[start:end])

    def _on_part_end(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.end()

    def _on_end(self) -> None:
        self.complete = True


class _Whole:
    """A part in memory."""

    def __init__(self, parts: list[bytes], most_bytes: int) -> None:
        self._parts = parts
        self._pieces: list[bytes] = []
        self._left = most_bytes

    def write(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise BrokenMultipart("a part of the message is larger than any object")
        self._pieces.append(piece)

    def end(self) -> None:
        self._parts.append(b"".join(self._pieces))


def parts_of(boundary: str, pieces: Iterable[bytes], most_bytes: int = MOST_PART_BYTES) -> Iterator[bytes]:
    """Yield each part's content as soon as it is whole.

    Raises
    ------
    BrokenMultipart
        The message is none, was cut off, or has a part of more than ``most_bytes``; the parts before were yielded.
    """
    whole: list[bytes] = []
    reader = MultipartReader(boundary, lambda headers: _Whole(whole, most_bytes))
    for piece in pieces:
        reader.feed(piece)
        yield from whole
        whole.clear()
    reader.finish()
