"""An encoded data set, read up to its pixels; and where it begins in a file."""

from __future__ import annotations

import io
import zlib
from typing import NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.core.errors import StudyError
from dicom_node.imaging.element_values import ODD

_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
#: A deflated header that grows beyond this is refused: a few kilobytes can unpack to anything.
MAX_INFLATED_BYTES = 1 << 29


class Header(NamedTuple):
    """A data set read up to its pixels.

    ``truncated`` is true when the bytes end inside an element before the pixel data.
    """

    dataset: Dataset
    has_pixel_data: bool
    truncated: bool


def read_header(data: bytes, transfer_syntax_uid: str) -> Header:
    """Read an encoded data set (no file meta) up to the pixel data; nothing is decoded.

    Raises
    ------
    StudyError
        The bytes are not a data set in this transfer syntax.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        data = _inflate(data)
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    little = transfer_syntax_uid != ExplicitVRBigEndian
    stopped_at: list[tuple[int, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag >= 0x7FE00000:
            stopped_at.append((int(tag), length))
            return True
        return False

    stream = io.BytesIO(data)
    try:
        dataset = read_dataset(stream, implicit, little, stop_when=at_pixels)
    except ODD as error:
        raise StudyError("The object is not valid DICOM: its header cannot be read.") from error
    except OSError as error:
        raise StudyError("The object is not valid DICOM: its header ends too early.") from error
    has_pixels = bool(stopped_at) and stopped_at[0][0] >> 16 == 0x7FE0 and stopped_at[0][1] != 0
    return Header(dataset, has_pixels, not stopped_at and _ends_early(dataset, data))


def _inflate(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)  # PS3.5 A.5: no zlib header
    try:
        plain = unpacker.decompress(data, MAX_INFLATED_BYTES)
    except zlib.error as error:
        raise StudyError("The deflated object is damaged: it cannot be unpacked.") from error
    if unpacker.unconsumed_tail:
        raise StudyError("The deflated object unpacks to more than this node takes.")
    return plain


def _ends_early(dataset: Dataset, data: bytes) -> bool:
    """Say whether the bytes stop inside an element.

    A cut between two elements of the same level cannot be seen; missing UIDs or pixels tell it later.
    """
    elements = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118  # iterating the data set itself would convert values
    if not elements:
        return True
    last = max(elements, key=lambda e: (e.value_tell if isinstance(e, RawDataElement) else e.file_tell) or 0)
    if not isinstance(last, RawDataElement) or last.length == 0xFFFFFFFF:
        return False  # a sequence of undefined length was read to its delimiter, or reading failed
    if len(last.value or b"") != last.length:
        return True
    # too few bytes for another element; zeros are padding to an even length
    return bool(data[last.value_tell + last.length :].strip(b"\0"))


def file_meta_end(content: bytes) -> tuple[int, str, str]:
    """Return where the data set starts, the transfer syntax and the media storage SOP class; 0 and "" without file meta.

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
    return (position if position > start or start else 0), found.get(0x0010, ""), found.get(0x0002, "")


def looks_like_dataset(data: bytes) -> bool:
    """A bare data set begins with group 0008 (or 0004 of a DICOMDIR), in one or the other byte order."""
    return len(data) >= 8 and data[:2] in (b"\x08\x00", b"\x00\x08")


def guessed_syntax(data: bytes) -> str:
    """Return the transfer syntax that the first bytes of a bare, native data set suggest."""
    if data[4:6].isalpha() and data[4:6].isupper():
        return str(ExplicitVRBigEndian if data[:2] == b"\x00\x08" else ExplicitVRLittleEndian)
    return str(ImplicitVRLittleEndian)
