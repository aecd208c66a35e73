"""An encoded data set, read up to its pixels; and where it begins in a file."""

from __future__ import annotations

import io
import mmap
import zlib
from typing import Any, NamedTuple

from pydicom import filereader
from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.core.errors import StudyError
from dicom_node.imaging.element_values import ODD
from dicom_node.imaging.quick_header import quick_header

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
#: So much of a deflated object is unpacked, and its header must lie within: a few kilobytes can unpack to anything.
MAX_INFLATED_BYTES = 1 << 26
#: A header is read in pieces, about two an element. Bytes that fall into more (a megabyte of zeros is 131072 elements) are none.
MAX_READS = 600_000
#: There are 16 character sets in all (PS3.3, C.12.1.1.2); pydicom looks at each value that is there.
MAX_CHARACTER_SETS = 32


def _few_encodings(terms: Any) -> list[str]:
    """Refuse a list without end: each unknown term costs pydicom a warning, a megabyte of them half a minute."""
    if not isinstance(terms, str | None) and len(terms) > MAX_CHARACTER_SETS:
        raise StudyError("The object is not valid DICOM: its list of character sets does not end.")
    encodings: list[str] = convert_encodings(terms)
    return encodings


filereader.convert_encodings = _few_encodings  # its reader has no other place to say no


class Header(NamedTuple):
    """A data set read up to its pixels.

    ``truncated`` is true when the bytes end inside an element before the pixel data.
    """

    dataset: Dataset
    has_pixel_data: bool
    truncated: bool


def read_header(data: bytes | mmap.mmap, transfer_syntax_uid: str) -> Header:
    """Read an encoded data set (no file meta) up to the pixel data; nothing is decoded.

    Parameters
    ----------
    data
        The bytes; or a mapped file, read from where it stands, of which only the header comes into memory.

    Raises
    ------
    StudyError
        The bytes are not a data set in this transfer syntax.
    """
    more = False
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data, more = _inflate(data if isinstance(data, bytes) else data.read(MAX_INFLATED_BYTES))
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    quick = quick_header(data, implicit=implicit) if little and isinstance(data, bytes) and not more else None
    if quick is not None:
        return Header(quick.dataset, quick.pixels_tag >> 16 == 0x7FE0 and quick.pixels_length != 0, False)
    stopped_at: list[tuple[int, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag >= 0x7FE00000:
            stopped_at.append((int(tag), length))
            return True
        return False

    stream = _Bounded(data if isinstance(data, mmap.mmap) else io.BytesIO(data))
    try:
        dataset = read_dataset(stream, implicit, little, stop_when=at_pixels)
    except ODD as error:
        raise StudyError("The object is not valid DICOM: its header cannot be read.") from error
    except OSError as error:
        raise StudyError("The object is not valid DICOM: its header ends too early.") from error
    if more and not stopped_at:
        raise StudyError("The deflated object unpacks to more than this node takes.")
    has_pixels = bool(stopped_at) and stopped_at[0][0] >> 16 == 0x7FE0 and stopped_at[0][1] != 0
    return Header(dataset, has_pixels, not stopped_at and _ends_early(dataset, data))


class _Bounded:
    """A stream that may be asked only so often: whoever sends millions of elements must not hold the processor for minutes."""

    def __init__(self, stream: io.BytesIO | mmap.mmap) -> None:
        self._stream = stream
        self._left = MAX_READS
        self.tell = stream.tell
        self.seek = stream.seek

    def read(self, count: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise StudyError("The object is not valid DICOM: its header does not end.")
        return self._stream.read(count)


def _inflate(data: bytes) -> tuple[bytes, bool]:
    """Return the beginning of what was deflated, and whether there is more."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: no zlib header
    try:
        plain = unpacker.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise StudyError("The deflated object is damaged: it cannot be unpacked.") from error
    return plain, bool(unpacker.unconsumed_tail)


def _ends_early(dataset: Dataset, data: bytes | mmap.mmap) -> bool:
    """Say whether the bytes stop inside an element.

    A cut between two elements of the same level cannot be seen; missing UIDs or pixels tell it later.
    """
    # iterating the data set itself, or asking for an empty element without keep_deferred, would convert values
    elements = [dataset.get_item(tag, keep_deferred=True) for tag in dataset.keys()]  # noqa: SIM118
    if not elements:
        return True
    last = max(elements, key=lambda e: (e.value_tell if isinstance(e, RawDataElement) else e.file_tell) or 0)
    if not isinstance(last, RawDataElement) or last.length == 0xFFFFFFFF:
        return False  # a sequence of undefined length was read to its delimiter, or reading failed
    if len(last.value or b"") != last.length:
        return True
    # too few bytes for another element; zeros are padding to an even length
    return bool(data[last.value_tell + last.length :].strip(b"\0"))


class FileMeta(NamedTuple):
    """What the file meta information says; 0 and "" where there is none."""

    end: int  # where the data set starts
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def file_meta_end(content: bytes) -> tuple[int, str, str]:
    """Return where the data set starts, the transfer syntax and the media storage SOP class; 0 and "" without file meta."""
    return read_file_meta(content)[:3]


def read_file_meta(content: bytes) -> FileMeta:
    """Return the file meta information of a Part 10 file, of which the first bytes suffice.

    The elements are walked one by one, since a group length that lies is common (PS3.10, 7.1; always explicit little endian).
    """
    position = 132 if content[128:132] == b"DICM" else 0
    start, found = position, {}
    while content[position : position + 2] == b"\x02\x00" and len(content) >= position + 8:
        element, vr = int.from_bytes(content[position + 2 : position + 4], "little"), content[position + 4 : position + 6]
        if vr in _LONG_VRS:
            length, head = int.from_bytes(content[position + 8 : position + 12], "little"), 12
        elif vr.isalpha() and vr.isupper():
            length, head = int.from_bytes(content[position + 6 : position + 8], "little"), 8
        else:  # implicit, against the standard, but seen
            length, head = int.from_bytes(content[position + 4 : position + 8], "little"), 8
        found[element] = content[position + head : position + head + length].rstrip(b"\0 ").decode("ascii", "replace")
        position += head + length
    end = position if position > start or start else 0
    return FileMeta(end, found.get(0x0010, ""), found.get(0x0002, ""), found.get(0x0003, ""))


def looks_like_dataset(data: bytes) -> bool:
    """A bare data set begins with group 0008 (or 0004 of a DICOMDIR), in one or the other byte order."""
    return len(data) >= 8 and data[:2] in (b"\x08\x00", b"\x00\x08")


def guessed_syntax(data: bytes) -> str:
    """Return the transfer syntax that the first bytes of a bare, native data set suggest."""
    if data[4:6].isalpha() and data[4:6].isupper():
        return str(ExplicitVRBigEndian if data[:2] == b"\x00\x08" else ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian)
