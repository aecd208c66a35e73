"""ORM^O01, OMI^O23, OMG^O19: how urgent an imaging order is, why it was made, and for which accession number (chapter 4)."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from dicom_node.orders import repository
from dicom_node.orders.messages.contract import Context, Handler, Taken, accession_number, first, ignored, order_groups
from dicom_node.orders.people import identifiers
from dicom_node.orders.reading import Hl7Message, Refused, Segment

#: HL7 tables 0027 and 0485, and the words that some RIS write instead.
_PRIORITIES = {
    **dict.fromkeys(("S", "STAT", "EMERGENCY"), "stat"),
    **dict.fromkeys(("A", "ASAP", "T", "P", "UR", "URGENT"), "urgent"),
    **dict.fromkeys(("R", "RT", "ROUTINE", "C"), "routine"),
}
#: ORC-1 (table 0119): the order is no more, or was not taken. The images decide, so nothing is done.
_CANCELLED = frozenset(("CA", "CR", "DC", "DR", "OC", "OD", "UA"))
_LONGEST = 1000  # characters of a reason or procedure


def order(connection: sa.Connection, message: Hl7Message, context: Context) -> Taken:
    """Keep priority, reason and procedure of each order that has an accession number."""
    groups = order_groups(message)
    if not groups:
        raise Refused("The message has neither ORC nor OBR.", "100")
    pid = message.first("PID")
    numbers = identifiers(pid, 3, context.settings.patient_id_authority) if pid else ()
    kept = cancelled = 0
    for group in groups:
        accession = accession_number(group, context.settings.accession_fields)
        orc = first(group, "ORC")
        if not accession:
            continue
        if orc is not None and orc.value(1).upper() in _CANCELLED:
            cancelled += 1
            continue
        said = {"priority": priority(group), "indication": indication(group), "procedure": procedure(group)}
        said |= {"patient": numbers[0].key if numbers else ""}
        repository.keep_order(connection, accession, context.now_utc, **{name: text for name, text in said.items() if text})
        kept += 1
    if kept:
        return Taken("applied", f"{kept} imaging order(s) known now.")
    return ignored("The order is cancelled; the images decide." if cancelled else "No order has an accession number.")


def priority(group: list[Segment]) -> str:
    """Return stat, urgent or routine, the most urgent that is said in TQ1-9, OBR-27, ORC-7 or OBR-5; ``""`` when nothing is."""
    said = [segment.value(9) for segment in group if segment.name == "TQ1"]
    for name, field in (("OBR", 27), ("ORC", 7)):
        for segment in (one for one in group if one.name == name):
            for repetition in segment.repetitions(field):
                said += [segment.value(field, part, repetition=repetition) for part in (6, 1)]
    said += [segment.value(5) for segment in group if segment.name == "OBR"]
    words = {_PRIORITIES.get(word.upper(), "") for word in said}
    return next((word for word in ("stat", "urgent", "routine") if word in words), "")


def indication(group: list[Segment]) -> str:
    """Return why the examination is asked for: OBR-31 (text, else code), and OBR-13."""
    obr = first(group, "OBR")
    if obr is None:
        return ""
    reasons = [obr.value(31, 2, repetition=n) or obr.value(31, 1, repetition=n) for n in obr.repetitions(31)]
    return "; ".join(dict.fromkeys(text for text in (*reasons, obr.value(13)) if text))[:_LONGEST]


def procedure(group: list[Segment]) -> str:
    """Return what is asked for: OBR-44, else OBR-4, as text, else code."""
    obr = first(group, "OBR")
    return "" if obr is None else next((text for f in (44, 4) for c in (2, 1) if (text := obr.value(f, c))), "")[:_LONGEST]


HANDLERS: Mapping[str, Handler] = {"ORM^O01": order, "OMI^O23": order, "OMG^O19": order}
