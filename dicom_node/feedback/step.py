"""The room's door: record what a person said about a result. Every channel ends here.

In the caller's transaction: the rows of the log, their erasable parts, the story's line and the tasks that are closed by it are
there together or not at all.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dicom_node import log
from dicom_node.core.feedback import OPINIONS, Claim, Statement, Verdict
from dicom_node.feedback import chain, recording, repository
from dicom_node.feedback.matching import match
from dicom_node.feedback.readers import Reader, identify
from dicom_node.feedback.recording import Result
from dicom_node.feedback.result import result_of
from dicom_node.feedback.settings import FeedbackSettings, ReaderSettings
from dicom_node.feedback.standing import can_take_back
from dicom_node.feedback.tasks import close_tasks, open_kinds
from dicom_node.feedback.words import NOTHING_TO_WITHDRAW, PROBLEMS, sentence
from dicom_node.home import Home
from dicom_node.store.story import tell, tell_once


@dataclass(frozen=True)
class Recorded:
    """What became of a claim.

    ``state``: ``read`` (rows or evidence were written, or had been before), ``nothing`` (it says nothing about a result),
    ``quarantined`` (it matches no result, or several), ``unclear`` (the result does not stand any more, or lacks the finding).
    """

    state: str
    text: str  # one sentence without identifiers
    run_key: str = ""
    study_key: str = ""
    numbers: tuple[int, ...] = ()  # of the new rows
    repeated: bool = False  # all of it was recorded before


@dataclass(frozen=True)
class Desk:
    """What recording needs. ``on_recorded`` is called with new rows, in the transaction that writes them."""

    home: Home
    readers: tuple[ReaderSettings, ...]
    settings: FeedbackSettings
    clock: Callable[[], float] = time.time
    on_recorded: Callable[[sa.Connection, Recorded], None] | None = None


def record(connection: sa.Connection, claim: Claim, *, desk: Desk) -> Recorded:
    """Record a claim, in the caller's transaction (one that may write). Never raises for what a message says.

    One row for each statement. The same message again, by whatever way it is found, adds nothing.
    """
    before = _recorded_before(connection, claim, desk)
    if before is not None:
        return before
    found = match(connection, claim.targets)
    if found.problem:
        state, text = PROBLEMS[found.problem]
        if state == "unclear" and found.study_key:
            tell_once(connection, found.study_key, "feedback", "answer.unclear", text)
        return Recorded(state, text, found.run_key, found.study_key)
    repository.lock_chain(connection)  # of two who bring the same message, the second sees the first's rows from here on
    (row,) = repository.run_rows(connection, {found.run_key})
    result = result_of(row, desk.home.results)
    if not claim.statements:
        return _keep_evidence(connection, claim, result, desk)
    if any(statement.finding not in result.labels for statement in claim.statements):
        text = "It answers a finding that the result does not have."
        tell_once(connection, result.study_key, "feedback", "answer.unclear", text)
        return Recorded("unclear", text, result.run_key, result.study_key)
    return _add_rows(connection, claim, result, desk)


def _recorded_before(connection: sa.Connection, claim: Claim, desk: Desk) -> Recorded | None:
    """Return the outcome of the same claim, recorded earlier; ``None`` when any of it is new."""
    if not claim.statements:
        return None
    rows = [repository.row_of_source(connection, _source(claim, one, desk)) for one in claim.statements]
    first = rows[0]
    if first is None or any(row is None for row in rows):
        return None
    return Recorded("read", "It was recorded before.", first.run_key, first.study_key, repeated=True)


def _source(claim: Claim, statement: Statement, desk: Desk) -> str:
    return desk.home.token("answer", recording.source_text(claim, statement.finding))


def _keep_evidence(connection: sa.Connection, claim: Claim, result: Result, desk: Desk) -> Recorded:
    """Keep regions or a report's text, which say nothing about whether the result is right, beside the log."""
    if not claim.regions and not claim.evidence:
        return Recorded("nothing", "It says nothing about the result.", result.run_key, result.study_key)
    evidence_id = chain.EVIDENCE + desk.home.token("answer", recording.source_text(claim, ""))
    what = "Regions are kept" if claim.regions else "A report's text is kept"
    if repository.private_row(connection, evidence_id) is not None:
        return Recorded("read", "It was recorded before.", result.run_key, result.study_key, repeated=True)
    content = recording.private_part(claim, None, first=True, run_key=result.run_key)
    repository.insert_private(connection, evidence_id, result.study_key, "", content)
    text = f"{what} as evidence; this is no answer."
    tell(connection, result.study_key, "feedback", "evidence.recorded", text)
    return Recorded("read", text, result.run_key, result.study_key)


def _add_rows(connection: sa.Connection, claim: Claim, result: Result, desk: Desk) -> Recorded:
    reader = identify(claim.reader, desk.readers, desk.home.token)
    earlier = repository.rows_of_run(connection, result.run_key)
    answered = any(row.reader == reader.pseudonym and row.verdict in OPINIONS for row in earlier)
    context = recording.context_of(claim, reader, () if answered else open_kinds(connection, result.run_key, reader.pseudonym))
    added: list[dict[str, Any]] = []
    told = [one for one in claim.statements if not _takes_back_nothing(one, earlier, reader)]
    if not told:
        return Recorded("nothing", NOTHING_TO_WITHDRAW, result.run_key, result.study_key)
    for statement in told:
        columns = recording.columns_of(claim, statement, reader, result, context)
        columns["source"] = _source(claim, statement, desk)
        columns["supersedes"] = _corrects(earlier, reader, statement)
        private = recording.private_part(claim, statement.finding, first=not added, run_key=result.run_key)
        row = _add_row(connection, columns, private, desk.clock())
        if row is not None:
            added.append(row)
    if not added:
        return Recorded("read", "It was recorded before.", result.run_key, result.study_key, repeated=True)
    text = sentence(claim.channel, reader, [(row["finding"], Verdict(row["verdict"])) for row in added])
    tell(connection, result.study_key, "feedback", "answer.recorded", text)
    close_tasks(connection, result.run_key, next((row for row in added if row["verdict"] in OPINIONS), added[0])["feedback_id"])
    numbers = tuple(row["number"] for row in added)
    done = Recorded("read", text, result.run_key, result.study_key, numbers)
    log.event(
        "answer.recorded",
        study=result.study_key,
        run=result.run_key,
        kind=claim.channel.value,
        outcome=reader.strength.value,
        count=len(added),
    )
    if desk.on_recorded is not None:
        desk.on_recorded(connection, done)
    return done


def _add_row(connection: sa.Connection, columns: dict[str, Any], private: dict[str, Any], now_utc: float) -> dict[str, Any] | None:
    """Append one row to the chain; ``None`` when its statement is there already."""
    if repository.row_of_source(connection, columns["source"]) is not None:
        return None
    last = repository.last_row(connection)
    feedback_id, salt = recording.ordered_id(now_utc), secrets.token_hex(16)
    row = columns | {
        "number": 1 if last is None else last.number + 1,
        "feedback_id": feedback_id,
        "at_utc": float(now_utc),
        "private_hash": chain.private_hash(feedback_id, columns["study_key"], salt, private),
        "previous_hash": chain.FIRST if last is None else last.row_hash,
    }
    row["row_hash"] = chain.row_hash(row)
    try:
        with connection.begin_nested():  # so that the caller's transaction survives a collision
            repository.insert_row(connection, row)
    except IntegrityError:
        if repository.row_of_source(connection, columns["source"]) is None:
            raise
        return None
    repository.insert_private(connection, feedback_id, columns["study_key"], salt, private)
    return row


def _takes_back_nothing(statement: Statement, earlier: list[Any], reader: Reader) -> bool:
    """Say whether a statement withdraws what its reader never said, or has taken back already: no opinion about anything."""
    if statement.verdict is not Verdict.WITHDRAWN:
        return False
    return not can_take_back(earlier, reader.pseudonym, reader.strength, statement.finding)


def _corrects(earlier: list[Any], reader: Reader, statement: Statement) -> str:
    """Return the last answer of the same person to the same finding, which this one takes the place of."""
    if not reader.pseudonym:
        return ""
    mine = [row for row in earlier if row.reader == reader.pseudonym and row.finding == statement.finding]
    return str(mine[-1].feedback_id) if mine else ""
