"""ADT: who the patient is (birth date, sex), and that two records became one (HL7 v2.5.1, chapter 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from dicom_node.orders import repository
from dicom_node.orders.messages.contract import Context, Handler, Merge, Taken, ignored
from dicom_node.orders.people import Identifier, birth_date, identifiers, sex
from dicom_node.orders.reading import Hl7Message, Refused, Segment

#: Events that state the patient: admission, registration, update, person record.
_UPDATES = ("A01", "A04", "A05", "A08", "A28", "A31")
#: Events by which MRG-1 stops being a patient of its own: merges, and changes of the number itself (A46, A47).
_MERGES = ("A18", "A34", "A36", "A39", "A40", "A46", "A47")


def update(connection: sa.Connection, message: Hl7Message, context: Context) -> Taken:
    """Keep birth date and sex of a patient."""
    pid = _patient(message)
    numbers = _numbers(pid, 3, context, "PID-3 names no patient number that this node uses.")
    changed = [_keep(connection, one.key, pid, context) for one in numbers]
    return Taken("applied", "The patient's birth date or sex is known now." if any(changed) else "Nothing new of the patient.")


def merge(connection: sa.Connection, message: Hl7Message, context: Context) -> Taken:
    """Keep that the patients of MRG-1 are now the one of PID-3. The latest message counts: who survives is merged no longer."""
    merges = []
    for pid, mrg in _pairs(message):
        survivors = _numbers(pid, 3, context, "PID-3 names no patient number that this node uses.")
        priors = _numbers(mrg, 1, context, "MRG-1 names no patient number that this node uses.")
        for one in survivors:
            repository.keep_patient(connection, one.key, context.now_utc, merged_into="")
            _keep(connection, one.key, pid, context)
        for prior in priors:
            into = next((one for one in survivors if one.issuer == prior.issuer), survivors[0])
            if prior.key not in {one.key for one in survivors}:
                repository.keep_patient(connection, prior.key, context.now_utc, merged_into=into.key)
                merges.append(Merge(prior.key, into.key))
    if not merges:
        return ignored("The message merges a patient with itself.")
    return Taken("applied", "Two records of a patient became one.", tuple(merges))


def _pairs(message: Hl7Message) -> Iterator[tuple[Segment, Segment]]:
    pid: Segment | None = None
    count = 0
    for segment in message.segments:
        if segment.name == "PID":
            pid = segment
        elif segment.name == "MRG" and pid is not None:
            count += 1
            yield pid, segment
    if not count:
        raise Refused("A merge needs PID and, behind it, MRG.", "100")


def _patient(message: Hl7Message) -> Segment:
    pid = message.first("PID")
    if pid is None:
        raise Refused("The message has no PID.", "100")
    return pid


def _numbers(segment: Segment, field: int, context: Context, words: str) -> tuple[Identifier, ...]:
    found = identifiers(segment, field, context.settings.patient_id_authority)
    if not found:
        raise Refused(words, "101")
    return found


def _keep(connection: sa.Connection, key: str, pid: Segment, context: Context) -> bool:
    said = {"birth_date": birth_date(pid), "sex": sex(pid)}
    known = {name: value for name, value in said.items() if value is not None}
    return repository.keep_patient(connection, key, context.now_utc, **known) and bool(known)


HANDLERS: Mapping[str, Handler] = {
    **{f"ADT^{event}": update for event in _UPDATES},
    **{f"ADT^{event}": merge for event in _MERGES},
}
