"""The ports that the node opens: each of them once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dicom_node.config.document import Loc, Mistake

#: As YAML and environment may write "no".
_NO = frozenset({"false", "no", "off", "n", "f", "0"})


class _Door(NamedTuple):
    """Something that listens: its name for people, its section, its usual port, and whether it opens without being written."""

    words: str
    section: Loc
    usual: int
    always: bool


_DOORS = (
    _Door("DICOM", ("reception",), 11112, always=True),
    _Door("DICOM over TLS", ("reception", "tls"), 2762, always=False),
    _Door("STOW-RS", ("reception", "stow"), 8043, always=False),
    _Door("HL7 messages", ("orders", "listener"), 2575, always=False),
    _Door("the pages", ("web",), 8080, always=True),
)


def ports_taken_twice(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield a mistake for each port that two of the node's doors would open; port 0, any free one, is never taken."""
    taken: dict[str, tuple[_Door, bool]] = {}
    for door in _DOORS:
        section = _section(data, door)
        if section is None:
            continue
        written = "port" in section
        port = str(section.get("port", door.usual)).strip()
        if port == "0":
            continue
        first, first_written = taken.setdefault(port, (door, written))
        if first is not door:
            place = door.section if written or not first_written else first.section
            text = f"port {port} is taken twice, by {first.words} and by {door.words}; choose another for one of them."
            yield Mistake((*place, "port"), text)


def _section(data: Mapping[str, Any], door: _Door) -> Mapping[str, Any] | None:
    """Return what is written for a door; ``None`` where it does not open."""
    found: Any = data
    for part in door.section:
        found = found.get(part) if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping):
        return {} if door.always else None
    closed = door.section == ("reception",) and str(found.get("plaintext", "true")).strip().casefold() in _NO
    return None if closed else found
