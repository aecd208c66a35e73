"""Writing and reading a study's story: each decision leaves its reason, in the transaction that made it."""

from __future__ import annotations

import time
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.store import tables

_INSERT = sa.insert(tables.story)  # made once: building it costs more than running it


class StoryLine(NamedTuple):
    """One line of a story."""

    at_utc: float
    room: str
    event: str
    reason: str
    text: str


def tell(connection: sa.Connection, study_key: str, room: str, event: str, text: str, reason: str = "") -> None:
    """Add a line. ``text`` is one sentence for people, without names, identifiers or UIDs."""
    line = {"study_key": study_key, "at_utc": time.time(), "room": room, "event": event, "reason": reason, "text": text}
    connection.execute(_INSERT, line)


def tell_once(connection: sa.Connection, study_key: str, room: str, event: str, text: str) -> None:
    """Add a line whose words the story does not hold yet: for what a step that runs again, or a second object, would repeat."""
    if all(line.text != text for line in read_story(connection, study_key)):
        tell(connection, study_key, room, event, text)


def read_story(connection: sa.Connection, study_key: str) -> list[StoryLine]:
    """Return the story of one study, oldest line first."""
    s = tables.story.c
    query = sa.select(s.at_utc, s.room, s.event, s.reason, s.text).where(s.study_key == study_key).order_by(s.story_id)
    return [StoryLine(*row) for row in connection.execute(query)]
