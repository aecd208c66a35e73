"""Element values as they were sent, read so that odd ones never raise: what cannot be understood is unknown.

Values are taken from the element's bytes before pydicom converts them: a decimal string that is no number, a date that is no date,
or a Value Representation that is not the dictionary's are then just texts, and nothing is printed about them (pydicom's warnings
quote the value, which may be a patient's name).
"""

from __future__ import annotations

import functools
import struct
from typing import Any

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.sequence import Sequence
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

#: What pydicom and Python raise on elements that break the standard.
ODD = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    EOFError,
    RecursionError,
    struct.error,
    BytesLengthException,
)
#: Without a character set the repertoire is ASCII; a byte beyond it is shown as Latin 1 has it, as pydicom does.
DEFAULT_ENCODINGS = ("iso8859",)
_numbers = {(little, kind): struct.Struct(("<" if little else ">") + kind) for little in (True, False) for kind in "HhIiQq"}
_INTEGERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"}


@functools.cache
def _tag_of(keyword: str) -> Any:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


def element_of(dataset: Dataset, keyword: str) -> Any:
    """Return the element, unconverted where it still is; ``None`` when absent."""
    tag = _tag_of(keyword)
    return dataset._dict.get(tag)  # asking the data set itself is ten times as dear, and may convert the value


def encodings_of(dataset: Dataset, inherited: tuple[str, ...] = DEFAULT_ENCODINGS) -> tuple[str, ...]:
    """Return the Python encodings of Specific Character Set, or ``inherited`` where the data set names none that is known."""
    element = element_of(dataset, "SpecificCharacterSet")
    if element is None or not element.value:
        return inherited
    value = element.value
    terms = (
        _split(value.decode("ascii", "replace")) if isinstance(value, bytes) else [value] if isinstance(value, str) else list(value)
    )
    try:
        return tuple(convert_encodings([str(term).strip() for term in terms[:_MOST_TERMS]]))
    except ODD:
        return inherited


def _split(text: str) -> list[str]:
    return [part.replace("\0", "").strip(" \r\n\t") for part in text.split("\\")]


#: Of a Specific Character Set; there are 16 (PS3.3, C.12.1.1.2).
_MOST_TERMS = 32
#: Bytes; a longer value is hardly that of the next object too.
_REPEATED = 64


@functools.lru_cache(maxsize=2048)  # objects of a series repeat each other
def _ascii_texts(value: bytes) -> tuple[str, ...]:
    values = _split(value.decode("ascii"))
    return () if not any(values) else tuple(values)


def all_texts(dataset: Dataset, keyword: str, encodings: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Return every value of an element as text without padding; empty ones stay in place; ``()`` when absent or odd."""
    element = element_of(dataset, keyword)
    if element is None or element.value is None:
        return ()
    value = element.value
    try:
        if isinstance(value, bytes):  # nearly always, so asked first
            if element.VR in _INTEGERS:
                return tuple(str(number) for number in _unpack(value, _INTEGERS[element.VR], _little(element)))
            if value.isascii() and b"\x1b" not in value:  # the same in every character set that DICOM knows, and cheaper
                return _ascii_texts(value) if len(value) <= _REPEATED else _ascii_texts.__wrapped__(value)
            values = _split(decode_bytes(value, encodings or encodings_of(dataset), TEXT_VR_DELIMS))
        elif isinstance(value, Sequence):
            return ()
        elif isinstance(value, str | PersonName):
            values = _split(str(value))
        elif hasattr(value, "__iter__"):
            values = [str(part).strip(" \0") for part in value]
        else:
            values = [str(value).strip(" \0")]
    except ODD:
        return ()
    return () if not any(values) else tuple(values)


def first_text(dataset: Dataset, keyword: str, encodings: tuple[str, ...] | None = None) -> str:
    """Return the first value of an element as text without padding; ``""`` when absent, empty or odd."""
    values = all_texts(dataset, keyword, encodings)
    return values[0] if values else ""


def _little(element: Any) -> bool:
    return bool(getattr(element, "is_little_endian", True))


def _unpack(value: bytes, kind: str, little: bool) -> tuple[int, ...]:
    one = _numbers[little, kind]
    whole = len(value) // one.size * one.size
    return tuple(number for (number,) in one.iter_unpack(value[:whole]))


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value as a whole number, whatever the Value Representation; ``None`` when absent or no number."""
    element = element_of(dataset, keyword)
    if element is None or element.value is None:
        return None
    value, vr = element.value, element.VR
    try:
        if isinstance(value, bytes):
            expected = dictionary_VR(element.tag)
            vr = expected if vr in (None, "UN", "OB", "OW") else vr
            if vr not in _INTEGERS and expected in _INTEGERS and not value.strip(b" \0").isdigit():
                vr = expected
            if vr in _INTEGERS:
                return _unpack(value, _INTEGERS[vr], _little(element))[0]
            value = value.decode("ascii").strip(" \0").split("\\")[0]
        elif hasattr(value, "__iter__") and not isinstance(value, str):
            value = next(iter(value))
        number = float(value)
        return int(number) if number == int(number) else None
    except ODD:
        return None


def decimals(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return all values as numbers as written; ``()`` when absent or when any of them is no finite number."""
    try:
        numbers = tuple(float(text) for text in all_texts(dataset, keyword))
    except ValueError:
        return ()
    return numbers if all(abs(number) < float("inf") for number in numbers) else ()


def decoded_person_name(dataset: Dataset, keyword: str = "PatientName", encodings: tuple[str, ...] | None = None) -> str:
    """Return a person name decoded, all component groups with ``=`` between them (PS3.5, 6.2.1); ``""`` when absent."""
    element = element_of(dataset, keyword)
    if element is None or not element.value:
        return ""
    value = element.value
    try:
        if isinstance(value, bytes):
            # trailing padding only: a first component group may rightly be empty
            value = PersonName(value.rstrip(b" \0"), list(encodings or encodings_of(dataset)), validation_mode=config.IGNORE)
        elif hasattr(value, "__iter__") and not isinstance(value, str | PersonName):
            value = next(iter(value))
        return "=".join(group.replace("\0", "").strip(" ") for group in str(value).split("=")).rstrip("=")
    except ODD:
        return ""


def sequence_items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; ``()`` when absent or damaged."""
    tag = _tag_of(keyword)
    if tag not in dataset.keys():  # noqa: SIM118  # as in ``element_of``
        return ()
    try:
        value = dataset[tag].value
        return tuple(value) if isinstance(value, Sequence) else ()
    except (*ODD, OSError):
        return ()
