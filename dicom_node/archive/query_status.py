"""What a C-FIND, C-MOVE or C-GET status means, in words (PS3.4, C.4.1.1.4, C.4.2.1.5, C.4.3.1.4; PS3.7, Annex C). Pure.

The peer's Error Comment is not repeated: it can name a patient.
"""

from __future__ import annotations

SUCCESS = 0x0000
PENDING = frozenset((0xFF00, 0xFF01))
#: Sub-operations ended with failures or warnings: some objects came.
PARTLY = 0xB000

_WORDS: dict[int, str] = {
    0x0105: "no such attribute",
    0x0110: "processing failure",
    0x0117: "invalid object instance",
    0x0122: "the archive does not do this kind of query",
    0x0124: "not authorised: the archive does not let this node ask",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA700: "out of resources",
    0xA701: "out of resources: it cannot count the matches",
    0xA702: "out of resources: it cannot send the objects",
    0xA801: "the archive does not know the move destination: add this node's AE title, address and port there",
    0xA900: "the query does not match what the archive supports",
    0xB000: "some objects could not be sent",
    0xFE00: "cancelled",
}


def words(status: int) -> str:
    """Return a status with its meaning."""
    text = _WORDS.get(status)
    if text is None and 0xA700 <= status <= 0xA7FF:
        text = "out of resources"
    if text is None and 0xC000 <= status <= 0xCFFF:
        text = "unable to process"
    return f"status 0x{status:04X}: {text or 'a failure that the standard does not name'}"


def permanent(status: int) -> bool:
    """Say whether a person must change something before it can work."""
    return status in (0x0122, 0x0124, 0x0211, 0x0212, 0xA801, 0xA900)


def table() -> list[tuple[str, str]]:
    """Return every status that is told apart, with its words, in order."""
    return [(f"0x{code:04X}", text) for code, text in sorted(_WORDS.items())]
