"""ORU^R01: laboratory values, and that the radiologist's own report for an accession number is there (chapter 7).

A message that this node made, echoed by an interface engine, is nothing at all. What somebody else says of this node's result is
handed on (``orders/messages/own_result.py``): whether it is an answer is not this room's to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from dicom_node.core.result_message import ReportText, ResultMessage
from dicom_node.orders import repository
from dicom_node.orders.laboratory import Changed, Value, keep_values
from dicom_node.orders.messages import own_result
from dicom_node.orders.messages.contract import Context, Handler, Taken, accession_number, first, ignored, order_groups
from dicom_node.orders.people import identifiers
from dicom_node.orders.reading import Hl7Message, Segment, moment
from dicom_node.orders.standing_values import FINAL, WITHDRAWN

#: OBR-24 (HL7 table 0074): radiology in its kinds.
_RADIOLOGY = frozenset(("RAD", "RX", "XRC", "CT", "CTH", "NMR", "NMS", "RUS", "OUS", "VUS", "CUS", "IMG", "DX", "CR", "MR", "MG"))
#: OBX-2 of a value; TX, FT, ED and RP are documents.
_VALUES = frozenset(("NM", "SN", "ST", "CE", "CWE", "CNE"))
_LONGEST = 200


def result(connection: sa.Connection, message: Hl7Message, context: Context) -> Taken:
    """Keep final laboratory values by patient, and the state of a report by accession number."""
    if message.header.value(3) == context.own_application or repository.is_our_message(connection, message.control_id):
        return ignored("The message is this node's own.")
    values = reports = 0
    changed: list[Changed] = []
    told: list[ResultMessage | ReportText] = []
    for number, group in enumerate(order_groups(message), start=1):
        own = own_result.about_us(connection, group)
        if own:
            told.append(own_result.result_message(message, group, number, context))
        if own is own_result.Ours.WHOLLY:
            continue
        section = _field(group, 24).upper()
        labs = [] if section in _RADIOLOGY else list(_values(group, context))
        if labs:
            kept = _keep_values(connection, message, group, labs, context)
            values += len(labs) if kept is not None else 0
            changed += kept or ()
        elif section in _RADIOLOGY or not section:
            reports += _keep_report(connection, message, group, context)
            report = own_result.report_text(message, group, number, context)
            told += [report] if report is not None else []
    if not values and not reports:
        return Taken("ignored", "" if told else "No final laboratory value and no report on an accession number.", told=tuple(told))
    text = f"{values} laboratory value(s), {reports} report(s)."
    return Taken("applied", text, told=tuple(told), values=tuple(changed))


def _field(group: list[Segment], number: int) -> str:
    obr = first(group, "OBR")
    return "" if obr is None else obr.value(number)


def _keep_report(connection: sa.Connection, message: Hl7Message, group: list[Segment], context: Context) -> int:
    """Keep OBR-25 of the RIS; a message that is older than what is known says nothing new."""
    accession = accession_number(group, context.settings.accession_fields)
    status = _field(group, 25).upper()[:2]
    if not accession or not status:
        return 0
    stated = _stated(message, group, context)
    at = context.now_utc if stated is None else stated
    known = repository.order_row(connection, accession)
    if known is not None and known.report_utc is not None and known.report_utc > at:
        return 0
    pid = message.first("PID")
    numbers = identifiers(pid, 3, context.settings.patient_id_authority) if pid else ()
    whose = {"patient": numbers[0].key} if numbers and not (known and known.patient) else {}
    repository.keep_order(connection, accession, context.now_utc, report_status=status, report_utc=at, **whose)
    return 1


def _stated(message: Hl7Message, group: list[Segment], context: Context) -> float | None:
    """Return when it was said: OBR-22 (report or status change), else MSH-7; ``None``: neither is a time."""
    stated = (_field(group, 22), message.header.value(7))
    return next((time for text in stated if (time := moment(text, context.timezone)) is not None), None)


def _values(group: list[Segment], context: Context) -> Iterator[Value]:
    """Yield coded observations that are final, corrected or withdrawn."""
    for obx in (segment for segment in group if segment.name == "OBX"):
        status = obx.value(11).upper()
        code, scheme = obx.value(3, 1), obx.value(3, 3)
        coded = obx.value(2).upper() in _VALUES and code and scheme
        if own_result.is_ours(obx) or not coded or status not in (*FINAL, *WITHDRAWN):
            continue
        observed = moment(obx.value(14) or _field(group, 7), context.timezone)
        yield Value(f"{code}^{scheme}"[:_LONGEST], _value(obx)[:_LONGEST], obx.value(6)[:_LONGEST], status, observed)


def _value(obx: Segment) -> str:
    """Return OBX-5: a code as ``code^text^scheme``, a structured number as it is spoken, else the text."""
    kind = obx.value(2).upper()
    parts = [obx.value(5, part) for part in (1, 2, 3, 4)]
    if kind == "SN":
        return "".join(parts)
    return "^".join(parts[:3]).rstrip("^") if kind in ("CE", "CWE", "CNE") else parts[0]


def _keep_values(
    connection: sa.Connection, message: Hl7Message, group: list[Segment], labs: list[Value], context: Context
) -> tuple[Changed, ...] | None:
    """Keep them for the patient of PID-3; ``None`` when nobody is named."""
    pid = message.first("PID")
    numbers = identifiers(pid, 3, context.settings.patient_id_authority) if pid else ()
    if not numbers:
        return None
    stated = _stated(message, group, context)
    return keep_values(connection, numbers[0].key, labs, now_utc=context.now_utc, stated_utc=stated)


HANDLERS: Mapping[str, Handler] = {"ORU^R01": result}
