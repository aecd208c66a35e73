"""What a kind of message is: a function that reads one and writes what it tells, in the caller's transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from dicom_node.core.result_message import ReportText, ResultMessage
from dicom_node.orders.laboratory import Changed
from dicom_node.orders.reading import Hl7Message, Segment
from dicom_node.orders.settings import OrdersSettings


@dataclass(frozen=True)
class Merge:
    """Two records of one patient became one: keys as ``core.identifiers.patient_key`` makes them."""

    prior: str
    survivor: str


@dataclass(frozen=True)
class Taken:
    """What became of a message. ``text``: one sentence, without identifiers."""

    state: str  # applied | ignored
    text: str
    merges: tuple[Merge, ...] = ()
    told: tuple[ResultMessage | ReportText, ...] = ()  # what others say of this node's results, and reports on their studies
    values: tuple[Changed, ...] = ()  # what it changed of the laboratory values that are known


@dataclass(frozen=True)
class Context:
    """What handlers need to know besides the message."""

    settings: OrdersSettings
    timezone: dt.tzinfo  # of the site, for time stamps without one
    now_utc: float
    own_application: str  # MSH-3 of this node's own messages


Handler = Callable[[sa.Connection, Hl7Message, Context], Taken]


def ignored(text: str) -> Taken:
    """Return the outcome of a message that changes nothing here."""
    return Taken("ignored", text)


def accession_number(segments: list[Segment], fields: tuple[str, ...]) -> str:
    """Return the images' Accession Number from the first of these fields that is filled; ``""`` when none is."""
    for name in fields:
        segment_name, _, field = name.partition("-")
        for segment in segments:
            if segment.name == segment_name and segment.value(int(field)):
                return segment.value(int(field))
    return ""


def order_groups(message: Hl7Message) -> list[list[Segment]]:
    """Return the segments of each order: from one ORC, or one OBR that has none, to the next."""
    groups: list[list[Segment]] = []
    for segment in message.segments:
        begins = segment.name == "ORC" or (segment.name == "OBR" and (not groups or _has(groups[-1], "OBR")))
        if begins:
            common = [one for one in groups[-1] if one.name == "ORC"] if segment.name == "OBR" and groups else []
            groups.append([*common, segment])
        elif groups:
            groups[-1].append(segment)
    return groups


def first(segments: list[Segment], name: str) -> Segment | None:
    """Return the first segment of this name."""
    return next((segment for segment in segments if segment.name == name), None)


def _has(segments: list[Segment], name: str) -> bool:
    return any(segment.name == name for segment in segments)
