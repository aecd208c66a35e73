"""Text inside HL7 v2 fields."""

from __future__ import annotations

import datetime as dt

from dicom_node.core.codes import Code

_ESCAPES = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\", "\r": " ", "\n": " "}


def escaped(text: str) -> str:
    """Return text that cannot be taken for delimiters (HL7 v2.5.1, 2.7); line breaks become spaces."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def formatted(lines: list[str]) -> str:
    """Return an FT value: lines with the break command between them (HL7 v2.5.1, 2.7.6)."""
    return "\\.br\\".join(escaped(line) for line in lines)


def coded(code: Code) -> str:
    """Return a CE or CWE value."""
    return "^".join(escaped(part) for part in (code.value, code.meaning, code.scheme))


def moment(value: dt.datetime) -> str:
    """Return a TS value with its zone."""
    assert value.tzinfo is not None, "an HL7 time stamp carries a zone"
    return value.strftime("%Y%m%d%H%M%S%z")


def person_name(name: str) -> str:
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
    return "~".join(repetitions)
