"""What a C-STORE status or an association rejection means, in words, and whether trying again can help. Pure.

Statuses: PS3.4, B.2.3 and PS3.7, Annex C. Rejections: PS3.8, 9.3.4. The peer's Error Comment is not repeated:
it can name a patient.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.core.delivery import Outcome


@dataclass(frozen=True)
class Meaning:
    """What came of it, and the sentence for people."""

    outcome: Outcome
    text: str


_STATUSES: dict[int, Meaning] = {
    0x0000: Meaning(Outcome.DELIVERED, ""),
    0x0001: Meaning(Outcome.WARNING, "stored; requested optional attributes are not supported"),
    0x0107: Meaning(Outcome.WARNING, "stored; attribute list error"),
    0x0111: Meaning(Outcome.WARNING, "the peer has this very object already"),
    0x0116: Meaning(Outcome.WARNING, "stored; an attribute value is out of range"),
    0xB000: Meaning(Outcome.WARNING, "stored, but the peer changed elements of the object (coercion)"),
    0xB006: Meaning(Outcome.WARNING, "stored, but the peer discarded elements of the object"),
    0xB007: Meaning(Outcome.WARNING, "stored, but the object does not match its SOP class in the peer's opinion"),
    0x0105: Meaning(Outcome.REJECT, "no such attribute"),
    0x0106: Meaning(Outcome.REJECT, "invalid attribute value"),
    0x0110: Meaning(Outcome.RETRY, "processing failure in the peer"),
    0x0112: Meaning(Outcome.REJECT, "no such SOP instance"),
    0x0117: Meaning(Outcome.REJECT, "invalid SOP instance"),
    0x0118: Meaning(Outcome.REJECT, "no such SOP class"),
    0x0120: Meaning(Outcome.REJECT, "missing attribute"),
    0x0121: Meaning(Outcome.REJECT, "missing attribute value"),
    0x0122: Meaning(Outcome.REJECT, "the peer does not store objects of this SOP class"),
    0x0124: Meaning(Outcome.REJECT, "not authorised: this node may not store there"),
    0x0210: Meaning(Outcome.RETRY, "duplicate invocation"),
    0x0211: Meaning(Outcome.REJECT, "unrecognised operation: the peer does not do C-STORE"),
    0x0212: Meaning(Outcome.REJECT, "mistyped argument"),
    0x0213: Meaning(Outcome.RETRY, "the peer has no resources left"),
}

_RANGES: tuple[tuple[int, int, Meaning], ...] = (
    (0xA700, 0xA7FF, Meaning(Outcome.RETRY, "refused: the peer is out of resources (disk full?)")),
    (0xA900, 0xA9FF, Meaning(Outcome.REJECT, "the data set does not match its SOP class in the peer's opinion")),
    (0xB000, 0xBFFF, Meaning(Outcome.WARNING, "stored, with a warning that the standard does not name")),
    (0xC000, 0xCFFF, Meaning(Outcome.REJECT, "the peer cannot understand the object")),
)


def status_meaning(status: int) -> Meaning:
    """Return what a C-STORE status means; one that the standard does not name is tried again, since nothing says it is final."""
    if status in _STATUSES:
        found = _STATUSES[status]
    else:
        unknown = Meaning(Outcome.RETRY, "a failure that the standard does not name")
        found = next((meaning for low, high, meaning in _RANGES if low <= status <= high), unknown)
    return Meaning(found.outcome, f"Status 0x{status:04X}: {found.text}." if found.text else "")


def table() -> list[tuple[str, Meaning]]:
    """Return every status or range of statuses that is told apart, with its meaning, in order."""
    single = [(f"0x{code:04X}", meaning) for code, meaning in _STATUSES.items()]
    ranges = [(f"0x{low:04X} to 0x{high:04X}", meaning) for low, high, meaning in _RANGES]
    return sorted(single + ranges, key=lambda row: row[0])


def rejection_meaning(result: int, source: int, diagnostic: int, called: str, calling: str) -> Meaning:
    """Return what an A-ASSOCIATE-RJ means and what to do about it (PS3.8, table 9-21)."""
    if (source, diagnostic) == (1, 3):
        text = f'The peer does not know the AE title "{calling}": add it there, with this machine\'s address.'
    elif (source, diagnostic) == (1, 7):
        text = f'The peer does not answer to the AE title "{called}": correct ae_title here.'
    elif (source, diagnostic) == (1, 2):
        text = "The peer does not support the DICOM application context."
    elif (source, diagnostic) == (3, 1):
        text = "The peer is congested for the moment."
    elif (source, diagnostic) == (3, 2):
        text = "The peer has reached its limit of associations."
    else:
        text = "The peer rejected the association without naming a reason that helps."
    permanent = result == 1 and source != 3  # congestion and limits pass, whatever "permanent" is said beside them
    return Meaning(Outcome.REJECT if permanent else Outcome.RETRY, text)
