"""Patients in a message: which of the numbers in PID-3 or MRG-1 is the one that images carry, birth date and sex. Pure."""

from __future__ import annotations

from typing import NamedTuple

from dicom_node.core.age import parse_date
from dicom_node.core.identifiers import patient_key, plain
from dicom_node.core.phi import Phi
from dicom_node.orders.reading import Segment

#: Types of identifiers (HL7 table 0203) that name a patient within an institution; an identifier without a type is one, too.
_PATIENT_NUMBERS = frozenset(("", "MR", "PI", "PT"))
_PLACEHOLDERS = frozenset(("19000101",))


class Identifier(NamedTuple):
    """One patient number and who gave it."""

    number: Phi
    issuer: Phi

    @property
    def key(self) -> str:
        """As the tables have it."""
        return patient_key(self.number, self.issuer)


def identifiers(segment: Segment, field: int, authority: str) -> tuple[Identifier, ...]:
    """Return the numbers of a CX field (PID-3, MRG-1) that images may carry as Patient ID, in order, each once.

    Parameters
    ----------
    authority
        The one assigning authority whose numbers images carry; its numbers are kept without an issuer, so that they fit whatever
        Issuer of Patient ID an image names. Empty: numbers of patient types, with their issuer.
    """
    found = []
    for repetition in segment.repetitions(field):
        number = segment.value(field, 1, repetition=repetition)
        if not number:
            continue
        issuers = [segment.value(field, 4, part, repetition=repetition) for part in (1, 2)]
        issuer, kind = next((name for name in issuers if name), ""), segment.value(field, 5, repetition=repetition).upper()
        if authority:
            if not issuer or plain(authority) in map(plain, issuers):
                found.append((Identifier(Phi(number), Phi("")), True))
        else:
            found.append((Identifier(Phi(number), Phi(issuer)), kind in _PATIENT_NUMBERS))
    proper = [one for one, is_patient in found if is_patient] or [one for one, _ in found]
    return tuple({one.key: one for one in proper}.values())


def birth_date(segment: Segment, field: int = 7) -> str | None:
    """Return PID-7 as a DA value; ``""`` when it is stated to be empty; ``None`` when nothing (or nothing usable) is said."""
    if segment.is_null(field):
        return ""
    day = segment.value(field)[:8]
    return day if len(day) == 8 and parse_date(day) is not None and day not in _PLACEHOLDERS else None


def sex(segment: Segment, field: int = 8) -> str | None:
    """Return PID-8 as DICOM has it (M, F, O); ``""`` when it is stated to be empty; ``None`` when nothing is said."""
    if segment.is_null(field):
        return ""
    word = segment.value(field).upper()
    return {"M": "M", "F": "F", "O": "O", "A": "O"}.get(word)
