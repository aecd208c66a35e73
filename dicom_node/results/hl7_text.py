"""Text inside HL7 v2 fields."""

from __future__ import annotations

import datetime as dt
import textwrap

from dicom_node.core.codes import Code

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\r": " ", "\n": " "}

_LONGEST_VALUE = 199  # of a value of type ST, the strictest reading of an untyped field
_LONGEST_NAMESPACE = 20  # HD.1, type IS


def escaped(text: str) -> str:
    """Return text that cannot be taken for delimiters (HL7 v2.5.1, 2.7); line breaks become spaces."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def text_values(lines: list[str]) -> list[str]:
    """Return TX values, one a repetition, which a receiver shows as a line (HL7 v2.5.1, 2.A.78).

    Each has at most 199 characters when escaped: some receivers take OBX-5 for ST, whatever OBX-2 says.
    """
    values = []
    for line in lines:
        parts = [line] if len(escaped(line)) <= _LONGEST_VALUE else textwrap.wrap(line, _LONGEST_VALUE // 3)  # "|" becomes three
        values += [escaped(part) for part in parts]
    return values


def authority(name: str, separator: str = "^") -> str:
    """Return an HD value: the name as namespace, or, where it is too long for one, as a local universal id."""
    text = escaped(name)
    return text if len(text) <= _LONGEST_NAMESPACE else f"{separator}{text}{separator}L"


def coded(code: Code) -> str:
    """Return a CE or CWE value."""
    return "^".join(escaped(part) for part in (code.value, code.meaning, code.scheme))


def moment(value: dt.datetime) -> str:
    """Return a TS value with its zone."""
    assert value.tzinfo is not None, "an HL7 time stamp carries a zone"
    return value.strftime("%Y%m%d%H%M%S%z")


def person_name(name: str) -> list[str]:
    """Return XPN repetitions of a DICOM person name: one a component group, with its representation code (A, I, P).

    DICOM's order is family^given^middle^prefix^suffix, HL7's family^given^middle^suffix^prefix.
    """
    repetitions = []
    groups = name.split("=")
    for group, representation in zip(groups, "AIP", strict=False):
        parts = [escaped(part) for part in (group.split("^") + [""] * 5)[:5]]
        family, given, middle, prefix, suffix = parts
        if any(parts):
            code = ["", "", representation] if len(groups) > 1 else []
            repetitions.append("^".join([family, given, middle, suffix, prefix, *code]).rstrip("^"))
    return repetitions
