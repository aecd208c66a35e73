"""From "sent" to "delivered": ask the archive, take its report, send again what it does not keep.

Work of a timer, one call a destination, so that an archive that hangs holds up no other. A question is a row before it is asked,
and a report is written down before it is answered, so that neither is lost. Asking twice, or a report that comes late, twice or
for something settled, changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.core.errors import PeerError
from dicom_node.delivery import commitment, repository
from dicom_node.delivery import commitment_repository as transactions
from dicom_node.delivery.commitment import FailureMeaning, Remedy, Report, failure_meaning
from dicom_node.delivery.commitment_scu import NotOffered, TakeReport
from dicom_node.delivery.proof import (
    SILENT_SECONDS,
    Missing,
    Question,
    first_question_seconds,
    next_question,
    when_missing,
    without_commitment,
)
from dicom_node.delivery.settings import ArchivingSettings, DestinationSettings
from dicom_node.plugins import load_kind
from dicom_node.store import tables
from dicom_node.store.connect import reading
from dicom_node.store.story import tell

#: Study Instance UID and SOP Instance UIDs -> those that the archive has. Raises PeerError.
HasInstances = Callable[[str, Collection[str]], Collection[str]]
#: As ``step.Submit``.
Submit = Callable[[sa.Connection, str, int, str, int, float], None]

#: An archive that could not be asked is left alone for this long.
PAUSE_SECONDS = 30.0
#: A crash between writing the question down and asking it is repaired after this.
UNASKED_SECONDS = 300.0
_ROOM = "delivery"


def prove_destination(
    database: sa.Engine,
    name: str,
    settings: ArchivingSettings,
    *,
    has_instances: HasInstances | None,
    take_report: TakeReport,
    submit: Submit,
) -> int:
    """Ask for every proof that is due at one destination; return about how many deliveries it was asked.

    Parameters
    ----------
    has_instances
        Asks the archive that the settings name; ``None`` when they name none.
    take_report
        As ``commitment_scp.report_taker`` makes it.
    """
    now = time.time()
    with reading(database) as connection:
        due = repository.unproven(connection, name, now, now + settings.proof_after_seconds)
    asked = 0
    for rows in due.values():
        try:
            _prove(database, name, settings, rows, has_instances, take_report, submit)
        except PeerError as error:
            log.event("proof.put_off", destination=name, error=type(error).__name__)
            with database.begin() as connection:
                _put_off(connection, [row for group in due.values() for row in group], now + PAUSE_SECONDS, str(error))
            return asked
        asked += len(rows)
    return asked


def _prove(
    database: sa.Engine,
    name: str,
    settings: ArchivingSettings,
    rows: Sequence[repository.Delivery],
    has_instances: HasInstances | None,
    take_report: TakeReport,
    submit: Submit,
) -> None:
    """Ask about what was sent of one study."""
    by_question: dict[Question, list[repository.Delivery]] = {}
    for row in rows:
        by_question.setdefault(next_question(settings, row.proof_attempt), []).append(row)
    silent = by_question.pop(Question.UNPROVEN, [])
    if silent:
        with database.begin() as connection:
            _tell_unproven(connection, silent)
        by_question.setdefault(Question.COMMITMENT, []).extend(silent)  # and it is asked on
    if Question.COMMITMENT in by_question:
        group = by_question.pop(Question.COMMITMENT)
        try:
            _ask_to_commit(database, name, settings, group, take_report)
        except NotOffered as error:
            _commitment_refused(database, settings, group, str(error))
            by_question.setdefault(without_commitment(settings), []).extend(group)
    if Question.NOTHING in by_question:
        with database.begin() as connection:
            _proved(connection, by_question[Question.NOTHING], Proof.ANSWER)
    if Question.QUERY in by_question and has_instances is not None:
        _query(database, settings, by_question[Question.QUERY], has_instances, submit)


# ---------------------------------------------------------------- storage commitment


def _ask_to_commit(
    database: sa.Engine, name: str, settings: Any, rows: Sequence[repository.Delivery], take_report: TakeReport
) -> None:
    """Open a transaction about these objects and send it; an older one about them ends here.

    Raises
    ------
    NotOffered, PeerError
        As ``commitment_scu.ask``; the transaction is closed, a report that comes all the same is still understood.
    """
    now = time.time()
    transaction = commitment.new_transaction_uid()
    ids = [row.delivery_id for row in rows]
    with database.begin() as connection:
        transactions.expire(connection, name, ids)
        items = {row.identifier: row.delivery_id for row in rows}
        transactions.insert(connection, transaction, transactions.ASKED, name, items, now, None)
        for row in rows:
            _update_sent(
                connection, [row.delivery_id], proof_attempt=row.proof_attempt + 1, next_attempt_utc=now + UNASKED_SECONDS
            )
    request = commitment.Request(transaction, tuple((row.sop_class_uid, row.identifier) for row in rows))
    try:
        reported = load_kind("destination", settings.kind).request_commitment(settings, request, take_report)
    except PeerError as error:
        with database.begin() as connection:
            transactions.update(connection, transaction, state=transactions.UNDELIVERABLE, next_attempt_utc=None, detail=str(error))
            for row in rows:  # nobody was asked
                _update_sent(connection, [row.delivery_id], proof_attempt=row.proof_attempt)
        raise
    log.event("commitment.asked", destination=name, count=len(rows), outcome="reported" if reported else "awaited")
    with database.begin() as connection:
        ours = transactions.locked(connection, transaction, transactions.ASKED)
        if ours is None or ours.state != transactions.OPEN:  # the report was faster
            return
        for row in rows:
            hours = settings.commitment_hours * 3600
            silent = row.proof_attempt >= settings.proof_tries
            told = {} if silent else {"proof_detail": "The archive was asked to commit to it; its report is awaited."}
            later = max(hours, SILENT_SECONDS) if silent else hours
            _update_sent(connection, [row.delivery_id], next_attempt_utc=now + later, **told)


def _commitment_refused(database: sa.Engine, settings: Any, rows: Sequence[repository.Delivery], why: str) -> None:
    """Say it once a delivery, and, where nothing else is asked, ask again tomorrow."""
    otherwise = {
        Question.QUERY: "It is looked for in the archive instead.",
        Question.NOTHING: "Its success status has to do.",
        Question.UNPROVEN: "The delivery is not proven.",
    }[without_commitment(settings)]
    detail = f"{why} {otherwise}"
    new = [row for row in rows if row.proof_detail != detail]
    with database.begin() as connection:
        if new:
            tell(connection, new[0].study_key, _ROOM, "proof.refused", f"No commitment: {_what(new)}. {detail}")
        _update_sent(
            connection, [r.delivery_id for r in rows], proof_detail=detail, next_attempt_utc=time.time() + SILENT_SECONDS
        )


def take_report(connection: sa.Connection, report: Report, destinations: Mapping[str, DestinationSettings], submit: Submit) -> bool:
    """Write down what an archive reports, in the caller's transaction; say whether the transaction is one of ours.

    A transaction is reported on once. Of one that was given up meanwhile only the good news counts: the objects are asked about
    again under another UID.
    """
    row = transactions.locked(connection, report.transaction_uid, transactions.ASKED)
    if row is None:
        return False
    if row.state == transactions.REPORTED:
        return True
    late = row.state != transactions.OPEN
    failed_text = f"{len(report.failed)} not committed" if report.failed else ""
    transactions.update(
        connection,
        report.transaction_uid,
        state=transactions.REPORTED,
        reported_utc=time.time(),
        next_attempt_utc=None,
        detail=failed_text,
    )
    waiting = [repository.load(connection, delivery_id) for delivery_id in row._mapping["items"].values()]
    waiting = [item for item in waiting if item.state == DeliveryState.SENT]
    kept = [item for item in waiting if report.committed.get(item.identifier) == item.sop_class_uid]
    _proved(connection, kept, Proof.COMMITMENT)
    log.event("commitment.reported", destination=row.peer, count=len(kept), outcome=failed_text or "committed")
    settings = destinations.get(row.peer)
    if late or not isinstance(settings, ArchivingSettings):
        return True
    for item in waiting:
        if item in kept:
            continue
        reason = report.failed.get(item.identifier)
        if item.identifier in report.committed:  # under another SOP class
            reason = commitment.CONFLICT
        _not_committed(connection, settings, item, failure_meaning(reason) if reason is not None else None, submit)
    return True


def _not_committed(
    connection: sa.Connection, settings: Any, row: repository.Delivery, meaning: FailureMeaning | None, submit: Submit
) -> None:
    """Do what a failed object needs; ``None``: the report does not mention it."""
    meaning = meaning or FailureMeaning(Remedy.ASK_AGAIN, "The archive's report does not mention it.")
    if meaning.remedy is Remedy.SEND_AGAIN:
        _missing(connection, settings, row, meaning.text, row.proof_attempt, submit)
    elif meaning.remedy is Remedy.PERSON:
        _park(connection, row, meaning.text)
    else:
        asked = row.proof_attempt
        if meaning.remedy is Remedy.OTHER_PROOF:
            asked = max(asked, settings.proof_tries)
        soon = time.time() + first_question_seconds(settings, asked)
        _update_sent(connection, [row.delivery_id], proof_attempt=asked, next_attempt_utc=soon, proof_detail=meaning.text)
        if row.proof_detail != meaning.text:
            tell(connection, row.study_key, _ROOM, "proof.refused", f"{_what([row])}: {meaning.text}")


# ---------------------------------------------------------------- proof by query


def _query(
    database: sa.Engine,
    settings: ArchivingSettings,
    rows: Sequence[repository.Delivery],
    has_instances: HasInstances,
    submit: Submit,
) -> None:
    with reading(database) as connection:
        study_uid = repository.study_uid(connection, rows[0].study_key)
    there = set(has_instances(study_uid, {row.identifier for row in rows}))
    with database.begin() as connection:
        found = [row for row in (repository.load(connection, r.delivery_id) for r in rows) if row.state == DeliveryState.SENT]
        _proved(connection, [row for row in found if row.identifier in there], Proof.QUERY)
        for row in found:
            if row.identifier not in there:
                _missing(connection, settings, row, "The archive does not show the object.", row.proof_attempt + 1, submit)


# ---------------------------------------------------------------- what comes of it


def _proved(connection: sa.Connection, rows: Iterable[repository.Delivery], proof: Proof) -> None:
    rows = list(rows)
    for row in rows:
        state = DeliveryState.WARNED if row.detail else DeliveryState.DONE  # what was sent keeps a warning in ``detail``
        repository.update(
            connection,
            row.delivery_id,
            state=str(state),
            proof=str(proof),
            proved_utc=time.time(),
            next_attempt_utc=None,
            proof_detail="",
        )
    if rows:
        how = {
            Proof.COMMITMENT: "the archive has committed to it",
            Proof.QUERY: "it was found in the archive",
            Proof.ANSWER: "the peer's success status has to do, more it cannot give",
        }[proof]
        tell(connection, rows[0].study_key, _ROOM, "delivery.done", f"Delivered: {_what(rows)}; {how}.")


def _missing(
    connection: sa.Connection, settings: ArchivingSettings, row: repository.Delivery, text: str, asked: int, submit: Submit
) -> None:
    """The archive took it and does not have it: send it again, or, after as many times as are allowed, tell a person."""
    if when_missing(settings, asked) is Missing.PARK:
        _park(connection, row, f"{text} It was sent {row.attempt} times and asked for {asked} times.")
        return
    attempt = row.attempt + 1
    repository.update(
        connection,
        row.delivery_id,
        state=str(DeliveryState.QUEUED),
        attempt=attempt,
        planned_utc=time.time(),
        next_attempt_utc=None,
        proof_attempt=asked,
        proof_detail=text,
    )
    tell(connection, row.study_key, _ROOM, "delivery.again", f"Sent again: {_what([row])}. {text}")
    submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)


def _park(connection: sa.Connection, row: repository.Delivery, text: str) -> None:
    repository.update(
        connection, row.delivery_id, state=str(DeliveryState.DEAD), next_attempt_utc=None, detail=text, proof_detail=text
    )
    tell(connection, row.study_key, _ROOM, "delivery.parked", f"Not delivered: {_what([row])}. {text}")


def _tell_unproven(connection: sa.Connection, rows: Sequence[repository.Delivery]) -> None:
    """Say once that no proof can be had."""
    text = "No proof could be had; the archive is asked on once a day."
    new = [row for row in rows if not row.proof_detail.endswith(text)]
    if new:
        tell(connection, new[0].study_key, _ROOM, "proof.missing", f"Sent, but not proven: {_what(new)}. {text}")
    for row in new:
        _update_sent(connection, [row.delivery_id], proof_detail=f"{row.proof_detail} {text}".strip())


def _put_off(connection: sa.Connection, rows: Iterable[repository.Delivery], until_utc: float, why: str) -> None:
    detail = f"The archive cannot be asked for now: {why}"
    d = tables.delivery.c
    for row in rows:  # those that were proved or sent again in this pass are not touched
        connection.execute(
            sa.update(tables.delivery)
            .where(d.delivery_id == row.delivery_id, d.state == str(DeliveryState.SENT), d.proof_attempt == row.proof_attempt)
            .values(next_attempt_utc=until_utc, proof_detail=detail)
        )


def _update_sent(connection: sa.Connection, ids: Sequence[str], **values: Any) -> None:
    """Change rows as far as they are still sent and unproven: a report may have come first."""
    d = tables.delivery.c
    connection.execute(
        sa.update(tables.delivery).where(d.delivery_id.in_(ids), d.state == str(DeliveryState.SENT)).values(**values)
    )


def _what(rows: Sequence[repository.Delivery]) -> str:
    return ", ".join(row.role.replace("_", " ") for row in rows) + f" to {rows[0].destination}"
