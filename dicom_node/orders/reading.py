"""One HL7 v2 message, read: fields by number, never an exception for what is missing, escapes resolved, nothing guessed."""

from __future__ import annotations

import codecs
import datetime as dt
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import hl7

from dicom_node.orders.character_sets import UnknownCharacterSet, decode

_HEX = re.compile(r"^X([0-9A-Fa-f]{2})+$")
_TYPE = re.compile(r"^[A-Z]{3}\^[A-Z][0-9]{2}$")
_LONGEST_ID = 199  # of what is kept of MSH-3, MSH-4 and MSH-10


class Refused(Exception):
    """The message cannot be taken, and sending it again will not help. ``words`` go to the sender; they quote nothing.

    ``error`` is the condition of HL7 table 0357: 100 segment sequence, 101 field missing, 102 data type, 103 table value,
    202 processing id, 207 application error.
    """

    def __init__(self, words: str, error: str = "207") -> None:
        super().__init__(words)
        self.words = words
        self.error = error


class Segment:
    """One segment. Fields count from 1 as in the standard (MSH-1 is the separator itself); whatever is missing is ``""``."""

    def __init__(self, raw: Any, unescape: Callable[[str], str]) -> None:
        self._raw = raw
        self._unescape = unescape
        self.name = str(raw[0]).strip() if len(raw) else ""

    def _repetition(self, field: int, repetition: int) -> list[list[str]]:
        """Return components, each a list of subcomponents."""
        if field >= len(self._raw):
            return []
        repetitions = list(self._raw(field))
        if repetition > len(repetitions):
            return []
        one = repetitions[repetition - 1]
        if isinstance(one, str):
            return [[one]]
        return [[part] if isinstance(part, str) else [str(item) for item in part] for part in one]

    def repetitions(self, field: int) -> range:
        """Return the numbers of the repetitions of a field."""
        return range(1, len(list(self._raw(field))) + 1) if field < len(self._raw) else range(0)

    def value(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Return one value as text, without blanks around it; ``""`` also for the HL7 null (two quotation marks)."""
        components = self._repetition(field, repetition)
        if component > len(components) or subcomponent > len(components[component - 1]):
            return ""
        text = components[component - 1][subcomponent - 1].strip()
        return "" if text == hl7.NULL else self._unescape(text).strip()

    def is_null(self, field: int) -> bool:
        """Say whether the field is stated to be empty: what was known is to be forgotten (HL7 v2.5.1, 2.5.3)."""
        return self._repetition(field, 1) == [[hl7.NULL]]


@dataclass(frozen=True)
class Hl7Message:
    """One message, parsed. ``separators``: segment, field, repetition, component, subcomponent, escape."""

    segments: tuple[Segment, ...]
    separators: str
    codec: str

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def named(self, name: str) -> Iterator[Segment]:
        """Yield the segments of this name, in order."""
        return (segment for segment in self.segments if segment.name == name)

    def first(self, name: str) -> Segment | None:
        """Return the first segment of this name."""
        return next(self.named(name), None)

    @cached_property
    def sender(self) -> str:
        """Who sent it: MSH-3 and MSH-4."""
        return f"{self.header.value(3)[:_LONGEST_ID]}|{self.header.value(4)[:_LONGEST_ID]}"

    @cached_property
    def control_id(self) -> str:
        """MSH-10."""
        return self.header.value(10)[:_LONGEST_ID]

    @cached_property
    def type(self) -> str:
        """Message code and trigger event of MSH-9, e.g. ``ADT^A40``; ``other`` for what is no such thing, since it is shown."""
        text = f"{self.header.value(9)}^{self.header.value(9, 2)}"
        return text if _TYPE.match(text) else "other"


def read_message(data: bytes, assumed_character_set: str = "") -> Hl7Message:
    """Parse the bytes between the frame's marks.

    Raises
    ------
    Refused
        They are no HL7 message, or not in a character set that can be read.
    """
    lines = data.replace(b"\r\n", b"\r").replace(b"\n", b"\r").strip()
    if not lines.startswith(b"MSH") or len(lines) < 9:
        raise Refused("This is no HL7 v2 message: it does not begin with MSH.", "100")
    if b"\0" in lines:  # no text in any character set, and PostgreSQL keeps none: refused now instead of put off for ever
        raise Refused("The message holds a NUL byte.", "102")
    try:
        text, codec = decode(lines, _character_sets(lines), assumed_character_set)
    except UnknownCharacterSet as error:
        raise Refused(str(error), "103") from None
    try:
        parsed = hl7.parse(text)
        separators = f"{parsed.separators}{parsed.esc}"
    except Exception:  # the library has no common exception for what it cannot take apart
        raise Refused("The message cannot be taken apart: MSH-1 and MSH-2 or a segment is broken.", "100") from None
    if len(separators) != 6:
        raise Refused("The message cannot be taken apart: MSH-2 does not name four encoding characters.", "100")
    resolve = _unescaper(separators, codec)
    segments = tuple(segment for segment in (Segment(raw, resolve) for raw in parsed) if segment.name)
    if [segment.name for segment in segments].count("MSH") > 1:
        raise Refused("There are several messages in one frame; send each in its own.", "100")
    return Hl7Message(segments, separators, codec)


def moment(text: str, timezone: dt.tzinfo) -> float | None:
    """Return a time stamp (HL7 v2.5.1, 2.A.77) in seconds since 1970, UTC; ``None`` when it is none.

    A date alone is its first second.
    """
    try:
        value = hl7.parse_datetime(text.strip())
        return None if value is None else (value if value.tzinfo else value.replace(tzinfo=timezone)).timestamp()
    except (ValueError, OverflowError):
        return None


def _character_sets(data: bytes) -> list[str]:
    """Return MSH-18 before anything can be decoded: the header's delimiters are ASCII in every character set that is known here."""
    header = data.split(b"\r", 1)[0]
    fields = header.split(header[3:4])
    repetition = fields[1][1:2] if len(fields) > 1 else b""
    stated = fields[17].strip() if len(fields) > 17 else b""
    return (
        [name.decode("ascii", "replace").strip() for name in (stated.split(repetition) if repetition else [stated])]
        if stated
        else []
    )


def _unescaper(separators: str, codec: str) -> Callable[[str], str]:
    """Return what resolves escape sequences (HL7 v2.5.1, 2.7); one that is not known is left out, never shown as letters."""
    _, field, repetition, component, subcomponent, escape = tuple(separators)
    known = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": escape, ".br": "\n", ".sp": "\n"}
    sequence = re.compile(f"{re.escape(escape)}([^{re.escape(escape)}]*){re.escape(escape)}")

    def resolved(match: re.Match[str]) -> str:
        word = match[1]
        if _HEX.match(word):
            return codecs.decode(bytes.fromhex(word[1:]), codec, "ignore").replace("\0", "")
        return known.get(word, "")

    return lambda text: sequence.sub(resolved, text) if escape in text else text
