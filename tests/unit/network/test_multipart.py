"""multipart/related, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.network.multipart import BrokenMultipart, MultipartReader, boundary_of, media_type_of, parts_of

HEAD = b"Content-Type: application/dicom\r\n\r\n"


def message(parts: list[bytes], boundary: bytes = b"b", before: bytes = b"") -> bytes:
    return before + b"".join(b"--" + boundary + b"\r\n" + HEAD + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[n : n + size] for n in range(0, len(data), size)]


@given(
    st.lists(st.binary(max_size=200).filter(lambda part: b"\r\n--b" not in b"\r\n" + part), max_size=4),
    st.integers(1, 50),
    st.sampled_from([b"", b"\r\n", b"a preamble\r\n"]),
)
def test_whatever_the_parts_and_the_pieces_the_bytes_are_the_same(parts: list[bytes], size: int, before: bytes) -> None:
    """Boundaries and line ends inside the data, empty parts, and pieces of one byte."""
    data = message(parts, before=before)
    if parts:
        assert list(parts_of("b", pieces(data, size))) == parts


@pytest.mark.parametrize(
    "data", [b"", b"nothing", b"x" * 5000, message([b"one"])[:-8], message([b"one"])[:20], b"--b\r\nbad header\r\n\r\n"]
)
def test_what_is_no_message_or_cut_off_is_broken(data: bytes) -> None:
    """No boundary, no end, no header."""
    with pytest.raises(BrokenMultipart):
        list(parts_of("b", pieces(data, 7)))


def test_a_part_that_is_cut_off_never_ends() -> None:
    """Whoever writes the part is told of its end only when all of it has come."""
    ended: list[dict[str, str]] = []

    class Sink:
        def __init__(self, headers: dict[str, str]) -> None:
            self.headers = headers

        def write(self, piece: bytes) -> None:
            """Take it."""

        def end(self) -> None:
            ended.append(self.headers)

    reader = MultipartReader("b", Sink)
    reader.feed(message([b"one", b"two"])[:-14])
    assert ended == [{"content-type": "application/dicom"}]
    with pytest.raises(BrokenMultipart):
        reader.finish()


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary=abc', "abc"),
        ('Multipart/Related; Boundary="a b"; type="application/dicom"', "a b"),
        ("application/dicom; boundary=abc", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_the_boundary_of_a_content_type(header: str, boundary: str) -> None:
    """Quoted or not, in any case."""
    assert boundary_of(header) == boundary
    assert media_type_of("Application/DICOM")[0] == "application/dicom"


def test_a_boundary_that_is_too_long_is_broken() -> None:
    """RFC 2046, 5.1.1."""
    with pytest.raises(BrokenMultipart):
        list(parts_of("b" * 500, [b""]))


def test_a_part_without_end_is_not_kept() -> None:
    """What a server sends for ever does not use up the memory; the parts before it were given."""
    found: list[bytes] = []
    with pytest.raises(BrokenMultipart, match="larger"):
        found.extend(parts_of("b", pieces(message([b"one", b"x" * 2000]), 100), most_bytes=1000))
    assert found == [b"one"]
