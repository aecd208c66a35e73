"""The functional groups of each frame of a Segmentation, as bytes: segment, position and source image (PS3.3 C.7.6.16, C.8.20.3).

Of 600 frames a library makes and writes 5,000 data sets, which takes longer than everything else of the object together. What
varies is five values a frame; so they are laid out here directly, as PS3.5 chapter 7 has it: Explicit VR Little Endian, in which
all objects of this node are written (``part10``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

_PER_FRAME = Tag("PerFrameFunctionalGroupsSequence")
_ITEM = struct.pack("<HH", 0xFFFE, 0xE000)
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT")


@dataclass(frozen=True)
class FrameGroup:
    """One frame. ``position_mm``: three DS values. ``frame``: of a multi-frame source, counted from 1."""

    segment: int  # counted from 1
    place: int  # among the positions, counted from 1
    position_mm: Sequence[str]
    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None = None


def per_frame_groups(frames: Iterable[FrameGroup], purpose: Dataset, derivation: Dataset) -> RawDataElement:
    """Return Per-Frame Functional Groups Sequence as an element that is written as it stands, and read when it is looked at.

    ``purpose``, ``derivation``: the coded items that all frames share.
    """
    shared = tuple(
        _sequence(keyword, _written(item))
        for keyword, item in (("PurposeOfReferenceCodeSequence", purpose), ("DerivationCodeSequence", derivation))
    )
    value = b"".join(_item(_group(frame, *shared)) for frame in frames)
    return RawDataElement(_PER_FRAME, "SQ", len(value), value, 0, False, True)


def add_encoded(made: Dataset, element: RawDataElement) -> None:
    """Add an element that is encoded already to a finished object, and say so: it is then written as it stands.

    Last of all: whoever looks at the element has it read, item by item, and written the long way.
    """
    names = made.get("SpecificCharacterSet")
    made.set_original_encoding(False, True, convert_encodings(names) if names else None)
    made[element.tag] = element


def _group(frame: FrameGroup, purpose: bytes, derivation: bytes) -> bytes:
    """Elements in the order of their tags, as everywhere in a data set."""
    source = _element("ReferencedSOPClassUID", b"UI", _uid(frame.sop_class_uid))
    source += _element("ReferencedSOPInstanceUID", b"UI", _uid(frame.sop_instance_uid))
    if frame.frame is not None:
        source += _element("ReferencedFrameNumber", b"IS", _text(str(frame.frame)))
    source += _element("SpatialLocationsPreserved", b"CS", _text("YES")) + purpose
    content = _element("DimensionIndexValues", b"UL", struct.pack("<II", frame.segment, frame.place))
    position = _element("ImagePositionPatient", b"DS", _text("\\".join(frame.position_mm)))
    segment = _element("ReferencedSegmentNumber", b"US", struct.pack("<H", frame.segment))
    return (
        _sequence("DerivationImageSequence", _sequence("SourceImageSequence", source) + derivation)
        + _sequence("FrameContentSequence", content)
        + _sequence("PlanePositionSequence", position)
        + _sequence("SegmentIdentificationSequence", segment)
    )


def _element(keyword: str, vr: bytes, value: bytes) -> bytes:
    tag = Tag(keyword)
    head = struct.pack("<HH2s", tag.group, tag.element, vr)
    length = struct.pack("<HI", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))
    return head + length + value


def _sequence(keyword: str, content: bytes) -> bytes:
    """Return a sequence of one item."""
    return _element(keyword, b"SQ", _item(content))


def _item(content: bytes) -> bytes:
    return _ITEM + struct.pack("<I", len(content)) + content


def _uid(value: str) -> bytes:
    data = value.encode("iso8859-1", "replace")
    return data + b"\0" * (len(data) % 2)


def _text(value: str) -> bytes:
    data = value.encode("ascii")
    return data + b" " * (len(data) % 2)


def _written(item: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, item)
    return bytes(stream.getvalue())
