"""Where a result stands: who has answered what, what counts now, who has only looked. Silence is never acceptance.

Of each finding the latest strong answer counts; a weak one only while there is no strong one. What a person takes back, counts no
more; and who has accepted a whole result and then amends a finding of it, or the other way round, has changed their mind: of one
person the record never says both. Readers who differ are both kept, and the difference shows until somebody settles it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import OPINIONS, Channel, Context, FeedbackRecorded, Strength, Verdict
from dicom_node.feedback import repository
from dicom_node.store.tables import exposure, run

NOT_OPENED, OPENED, OPENED_SILENT, ANSWERED, WITHDRAWN = "not_opened", "opened", "opened_silent", "answered", "withdrawn"


@dataclass(frozen=True)
class Standing:
    """What counts of one finding, or of the whole result."""

    finding: str
    verdict: Verdict
    strength: Strength
    reader: str  # pseudonym; empty: unknown
    reader_role: str
    at_utc: float
    number: int
    feedback_id: str
    channel: Channel
    context: Context
    label_after: str
    reason: str
    conflict: bool = False  # strong readers differ, and nobody has settled it


def current(connection: sa.Connection, run_key: str) -> dict[str, Standing]:
    """Return what counts now, by finding; ``""`` is the whole result. A finding without an answer that stands is not in it."""
    return standing(repository.rows_of_run(connection, run_key))


def answers(connection: sa.Connection, run_key: str) -> list[FeedbackRecorded]:
    """Return every answer about a result, also those that count no more, in order."""
    return [recorded(row) for row in repository.rows_of_run(connection, run_key)]


def seen(connection: sa.Connection, run_key: str) -> str:
    """Return ``opened`` if anybody has looked at the result, by this node's knowledge, else ``not_opened``."""
    looked = connection.execute(sa.select(exposure.c.exposure_id).where(exposure.c.run_key == run_key).limit(1)).first()
    return OPENED if looked is not None or repository.rows_of_run(connection, run_key) else NOT_OPENED


def study_state(connection: sa.Connection, run_key: str) -> str:
    """Return where the result is: ``not_opened``, ``opened_silent``, ``answered`` (an answer stands), ``withdrawn``.

    ``withdrawn``: the result was taken back, or every answer to it.
    """
    state = connection.execute(sa.select(run.c.state).where(run.c.run_key == run_key)).scalar()
    rows = repository.rows_of_run(connection, run_key)
    if state == WITHDRAWN:
        return WITHDRAWN
    if standing(rows):
        return ANSWERED
    if any(row.verdict == Verdict.WITHDRAWN for row in rows):
        return WITHDRAWN
    return OPENED_SILENT if rows or seen(connection, run_key) == OPENED else NOT_OPENED


def opened(connection: sa.Connection, run_key: str, study_key: str, reader: str, channel: str) -> None:
    """Note that somebody looked at a result. This is no answer."""
    values = {"at_utc": time.time(), "run_key": run_key, "study_key": study_key, "reader": reader, "channel": channel}
    connection.execute(sa.insert(exposure).values(**values))


def standing(rows: Iterable[Any]) -> dict[str, Standing]:
    """Return what counts of these rows of the log, in order of number, all about one result. Pure."""
    by_finding: dict[str, list[Any]] = {}
    for (finding, _, _), row in _held(rows).items():
        by_finding.setdefault(finding, []).append(row)
    return {finding: _standing(opinions) for finding, opinions in by_finding.items()}


def can_take_back(rows: Iterable[Any], reader: str, strength: str, finding: str) -> bool:
    """Say whether a withdrawal by this reader takes anything back: without an answer of theirs it says nothing. Pure."""
    return any(_is_taken_back(one, reader, strength, finding) for one in _held(rows))


_Held = tuple[str, str, str]  # finding, reader, strength


def _held(rows: Iterable[Any]) -> dict[_Held, Any]:
    """Return the opinions that were not taken back: of each reader and finding the last one."""
    said: dict[_Held, Any] = {}
    for row in rows:
        if row.verdict in OPINIONS:
            for one in [one for one, earlier in said.items() if _is_unsaid(one, earlier, row)]:
                del said[one]
            said.pop((row.finding, row.reader, row.strength), None)  # the last one said comes last
            said[row.finding, row.reader, row.strength] = row
        elif row.verdict == Verdict.WITHDRAWN:
            for one in [one for one in said if _is_taken_back(one, row.reader, row.strength, row.finding)]:
                del said[one]
    return said


def _is_unsaid(opinion: _Held, earlier: Any, row: Any) -> bool:
    """Say whether a person unsays, by another verdict on a part, what they said of the whole, or the other way round.

    What one message says of both stands together.
    """
    about, whose, how_strong = opinion
    whole_and_part = (about == "") != (row.finding == "")
    theirs = bool(row.reader) and whose == row.reader and (row.strength == Strength.STRONG or how_strong == Strength.WEAK)
    together = (earlier.channel, earlier.said_utc) == (row.channel, row.said_utc)
    return whole_and_part and theirs and not together and earlier.verdict != row.verdict


def _is_taken_back(opinion: _Held, reader: str, strength: str, finding: str) -> bool:
    about, whose, how_strong = opinion
    theirs = whose == reader and finding in ("", about)
    return theirs and (strength == Strength.STRONG or how_strong == Strength.WEAK)


def _standing(opinions: list[Any]) -> Standing:
    strong = [row for row in opinions if row.strength == Strength.STRONG]
    row = (strong or opinions)[-1]
    differ = len({(one.verdict, one.label_after if one.verdict == Verdict.AMENDED else "") for one in strong}) > 1
    return Standing(
        finding=row.finding,
        verdict=Verdict(row.verdict),
        strength=Strength(row.strength),
        reader=row.reader,
        reader_role=row.reader_role,
        at_utc=row.at_utc,
        number=row.number,
        feedback_id=row.feedback_id,
        channel=Channel(row.channel),
        context=Context(row.context),
        label_after=row.label_after,
        reason=row.reason,
        conflict=differ and row.context != Context.ADJUDICATION,
    )


def recorded(row: Any) -> FeedbackRecorded:
    """Return a row of the log as other rooms see it."""
    names = ("number", "feedback_id", "at_utc", "run_key", "study_key", "finding", "reader", "reader_role")
    names += ("label_before", "label_after", "reason", "supersedes")  # type: ignore[assignment]
    return FeedbackRecorded(
        **{name: getattr(row, name) for name in names},
        verdict=Verdict(row.verdict),
        strength=Strength(row.strength),
        channel=Channel(row.channel),
        context=Context(row.context),
    )
