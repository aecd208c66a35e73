"""OBR groups that tell of this node's own result, and final reports on other orders: taken apart, not judged.

A group is ours where OBR-4 is our code, or one of its numbers is one that we gave; a report of the RIS may also carry observations
of ours (OBX-3 of our own coding scheme) beside its own.
"""

from __future__ import annotations

import enum
import re

import sqlalchemy as sa

from dicom_node.core import codes
from dicom_node.core.phi import Phi
from dicom_node.core.result_message import Person, ReportText, ResultLine, ResultMessage
from dicom_node.orders import repository
from dicom_node.orders.messages.contract import Context, accession_number, first
from dicom_node.orders.reading import Hl7Message, Segment, moment

#: Filler numbers as ``results`` makes them.
_NUMBER = re.compile(r"AI[A-Z2-7]{16}")
_TEXTS = frozenset(("TX", "FT", "ST"))
_FINAL = ("F", "C")
_LONGEST_TEXT = 65_536
_MOST_LINES = 200


class Ours(enum.Enum):
    """How far a group is about this node's result."""

    NOT = 0
    PARTLY = 1  # a report of somebody else that carries observations of ours
    WHOLLY = 2

    def __bool__(self) -> bool:
        return self is not Ours.NOT


def about_us(connection: sa.Connection, group: list[Segment]) -> Ours:
    """Say whether a group tells of a result of this node."""
    obr = first(group, "OBR")
    if obr is None:
        return Ours.NOT
    if (obr.value(4, 1), obr.value(4, 3)) in {(code.value, code.scheme) for code in codes.RESULT_CODES}:
        return Ours.WHOLLY
    if any(repository.is_our_number(connection, number) for number in _numbers(obr)):
        return Ours.PARTLY
    return Ours.PARTLY if any(is_ours(segment) for segment in group if segment.name == "OBX") else Ours.NOT


def is_ours(obx: Segment) -> bool:
    """Say whether an observation is named by our own coding scheme."""
    return obx.value(3, 3) == codes.PRIVATE_SCHEME


def result_message(message: Hl7Message, group: list[Segment], number: int, context: Context) -> ResultMessage:
    """Return what the group says of our result."""
    obr = first(group, "OBR")
    assert obr is not None, "a group about us has an OBR"
    return ResultMessage(
        sender=message.sender,
        control_id=message.control_id,
        group=number,
        numbers=_numbers(obr),
        accession_number=Phi(_accession(group, context)),
        said_utc=_said(message, obr, context),
        interpreters=_people(obr, 32),
        lines=lines_of(group),
        patients=_patients(message, obr),
    )


def lines_of(segments: list[Segment]) -> tuple[ResultLine, ...]:
    """Return the observations among segments."""
    return tuple(_line(segment) for segment in segments if segment.name == "OBX")[:_MOST_LINES]


def report_text(message: Hl7Message, group: list[Segment], number: int, context: Context) -> ReportText | None:
    """Return the text of a final or corrected report of somebody else; ``None`` where there is none."""
    obr = first(group, "OBR")
    if obr is None or obr.value(25).upper() not in _FINAL or not _accession(group, context):
        return None
    lines = []
    for obx in (segment for segment in group if segment.name == "OBX"):
        if obx.value(2).upper() in _TEXTS and not is_ours(obx) and obx.value(11).upper() in (*_FINAL, ""):
            lines += [obx.value(5, repetition=one) for one in obx.repetitions(5)]
    text = "\n".join(line for line in lines if line)[:_LONGEST_TEXT]
    if not text:
        return None
    at = _said(message, obr, context)
    status = obr.value(25).upper()
    whose = _patients(message, obr)
    return ReportText(message.sender, message.control_id, number, Phi(_accession(group, context)), status, at, Phi(text), whose)


def _patients(message: Hl7Message, obr: Segment) -> tuple[Phi, ...]:
    """Return every number of the patient that a group stands under: a message may bring several patients, one behind the other."""
    found: tuple[Phi, ...] = ()
    for segment in message.segments:
        if segment is obr:
            break
        if segment.name == "PID":
            numbers = [segment.value(3, repetition=one) for one in segment.repetitions(3)]
            found = tuple(Phi(number) for number in numbers if number)
    return found


def _numbers(obr: Segment) -> tuple[str, ...]:
    """Return what may be a filler number of ours: OBR-3, or where a RIS keeps the other side's number."""
    found = (obr.value(field) for field in (3, 2, 18, 19, 20, 21))
    return tuple(dict.fromkeys(number for number in found if _NUMBER.fullmatch(number)))


def _accession(group: list[Segment], context: Context) -> str:
    number = accession_number(group, context.settings.accession_fields)
    return "" if _NUMBER.fullmatch(number) else number


def _said(message: Hl7Message, obr: Segment, context: Context) -> float:
    stated = (moment(text, context.timezone) for text in (obr.value(22), message.header.value(7)))
    said = next((time for time in stated if time is not None), context.now_utc)
    return min(said, context.now_utc)  # a sender's clock may be ahead; nobody answers in the future


def _line(obx: Segment) -> ResultLine:
    return ResultLine(
        set_id=obx.value(1),
        sub_id=obx.value(4).upper(),
        code=obx.value(3, 1),
        scheme=obx.value(3, 3),
        kind=obx.value(2).upper(),
        values=tuple(tuple(obx.value(5, part, repetition=one) for part in (1, 2, 3)) for one in obx.repetitions(5)),
        status=obx.value(11).upper(),
        observers=_people(obx, 16),
    )


def _people(segment: Segment, field: int) -> tuple[Person, ...]:
    """Return the people of an XCN or NDL field, each once.

    XCN is number^family^given; NDL (OBR-32) has all of it in the first component, divided by the subcomponent separator, and many
    senders write XCN there.
    """
    found = []
    for one in segment.repetitions(field):
        number = segment.value(field, 1, 1, one)
        name = [segment.value(field, 1, part, one) for part in (2, 3)]
        if not any(name):
            name = [segment.value(field, part, 1, one) for part in (2, 3)]
        said = "^".join(part for part in name if part and not part[0].isdigit())  # NDL.2 is a time
        if number or said:
            found.append(Person(number, said))
    return tuple(dict.fromkeys(found))
