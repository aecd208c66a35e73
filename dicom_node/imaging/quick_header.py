"""The header of an ordinary object, walked in place: what pydicom's reader does, without its price for each element.

Ordinary means: little endian, elements in order, none of undefined length, pixel data behind them. Anything else is left to
pydicom, so that only one reader decides what is damaged.
"""

from __future__ import annotations

import functools
import struct
from typing import Any, NamedTuple

from pydicom.charset import convert_encodings
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

_PIXELS = 0x7FE00000
_CHARACTER_SET = 0x00080005
_LONGEST_CHARACTER_SET = 512
_UNDEFINED = 0xFFFFFFFF
_explicit = struct.Struct("<HH2sH")
_implicit = struct.Struct("<HHI")
_long = struct.Struct("<I")
#: VR as written -> its name, and whether its length has four bytes (PS3.5, 7.1.2).
_VRS = {str(vr.value).encode(): (str(vr.value), vr in EXPLICIT_VR_LENGTH_32) for vr in VR if len(vr.value) == 2}


class QuickHeader(NamedTuple):
    """Elements before the pixels, and the element that those are in: its tag, VR (of explicit ones), length, place of its value."""

    dataset: Dataset
    pixels_tag: int
    pixels_vr: str | None
    pixels_length: int
    pixels_at: int


def quick_header(data: bytes, *, implicit: bool) -> QuickHeader | None:
    """Return the header, or ``None`` where the object is not ordinary.

    Parameters
    ----------
    data
        A data set, or so much of its beginning that the pixel data element begins in it.
    """
    if data[4:6].isalpha() and data[4:6].isupper() if implicit else data[4:6] not in _VRS:
        return None  # not what its transfer syntax says
    elements: dict[Any, RawDataElement] = {}
    position, previous, size = 0, -1, len(data)
    vr: str | None = None
    while position + 12 <= size:
        if implicit:
            group, element, length = _implicit.unpack_from(data, position)
            position += 8
        else:
            group, element, written, length = _explicit.unpack_from(data, position)
            found = _VRS.get(written)
            if found is None:
                return None
            vr, is_long = found
            position += 8
            if is_long:
                length = _long.unpack_from(data, position)[0]
                position += 4
        tag = group << 16 | element
        if tag <= previous:
            return None
        if tag >= _PIXELS:
            dataset = _made(elements, implicit)
            return None if dataset is None else QuickHeader(dataset, tag, vr, length, position)
        if length == _UNDEFINED or position + length > size:
            return None
        value = data[position : position + length] if length else empty_value_for_VR(vr, raw=True)
        # plain numbers as keys: comparing pydicom's own costs more than reading the element
        elements[tag] = RawDataElement(BaseTag(tag), vr, length, value, position, implicit, True)
        position += length
        previous = tag
    return None


def _made(elements: dict[Any, RawDataElement], implicit: bool) -> Dataset | None:
    dataset = Dataset(elements)
    character_set = elements.get(_CHARACTER_SET)
    encodings: tuple[str, ...] | str = "iso8859"
    if character_set is not None:
        if character_set.length > _LONGEST_CHARACTER_SET:
            return None
        try:
            encodings = _encodings(character_set.VR, bytes(character_set.value or b""))
        except Exception:  # whatever it is, pydicom's reader says it
            return None
    dataset.set_original_encoding(implicit, True, list(encodings) if isinstance(encodings, tuple) else encodings)
    return dataset


@functools.lru_cache(maxsize=64)
def _encodings(vr: str | None, value: bytes) -> tuple[str, ...]:
    element = RawDataElement(BaseTag(_CHARACTER_SET), vr, len(value), value, 0, vr is None, True)
    return tuple(convert_encodings(convert_raw_data_element(element).value))
