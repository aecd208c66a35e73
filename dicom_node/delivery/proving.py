"""From "sent" to "delivered": ask the archive, take its report, send again what it does not keep.

Work of a timer, one call a destination, so that an archive that hangs holds up no other. A question is a row before it is asked,
and a report is written down before it is answered, so that neither is lost. Asking twice, or a report that comes late, twice or
for something settled, changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.core.errors import PeerError
from dicom_node.delivery import commitment, repository
from dicom_node.delivery import commitment_repository as transactions
from dicom_node.delivery.commitment_scu import NotOffered, TakeReport
from dicom_node.delivery.proof import SILENT_SECONDS, Question, longest_pause_seconds, next_question, without_commitment
from dicom_node.delivery.proof_outcome import missing, park, proved, put_off, tell_unproven, update_sent, what
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.plugins import load_kind
from dicom_node.store.connect import reading
from dicom_node.store.story import tell

#: Study Instance UID and SOP Instance UIDs -> those that the archive has. Raises PeerError.
HasInstances = Callable[[str, Collection[str]], Collection[str]]

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
        near, latest = now + settings.proof_after_seconds, now + longest_pause_seconds(settings)
        due = repository.unproven(connection, name, now, near, latest)
    asked = 0
    for rows in due.values():
        try:
            _prove(database, name, settings, rows, has_instances, take_report, submit)
        except PeerError as error:
            log.event("proof.put_off", destination=name, error=type(error).__name__)
            with database.begin() as connection:
                put_off(connection, [row for group in due.values() for row in group], now + PAUSE_SECONDS, str(error))
            return asked
        except Exception as error:  # broad on purpose: one study that cannot be asked about must not leave the others unproven
            log.event("proof.failed", destination=name, study=rows[0].study_key, error=type(error).__name__)
            with database.begin() as connection:
                put_off(connection, rows, now + PAUSE_SECONDS, f"unexpected {type(error).__name__}.")
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
            tell_unproven(connection, silent)
        by_question.setdefault(Question.COMMITMENT, []).extend(silent)  # and it is asked on
    if Question.COMMITMENT in by_question:
        group = by_question.pop(Question.COMMITMENT)
        try:
            _ask_to_commit(database, name, settings, group, take_report)
        except PeerError as error:
            if not isinstance(error, NotOffered) and not _out_of_patience(settings, group):
                raise
            _commitment_refused(database, settings, group, str(error))
            by_question.setdefault(without_commitment(settings), []).extend(group)
    if Question.NOTHING in by_question:
        with database.begin() as connection:
            proved(connection, by_question[Question.NOTHING], Proof.ANSWER)
    if Question.QUERY in by_question and has_instances is not None:
        _query(database, settings, by_question[Question.QUERY], has_instances, submit)


def close_gone(database: sa.Engine, destinations: Collection[str]) -> int:
    """Give up proofs that nobody can ask for: the destination is not in the configuration any more. Returns how many."""
    with reading(database) as connection:
        waiting = repository.listed(connection, states=(DeliveryState.SENT,))
    gone = [row for row in waiting if row.destination not in destinations]
    for row in gone:
        with database.begin() as connection:
            if repository.load(connection, row.delivery_id, lock=True).state == DeliveryState.SENT:
                park(connection, row, "It was sent and is not proven: its destination cannot be asked any more.")
    return len(gone)


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
            update_sent(connection, [row.delivery_id], proof_attempt=row.proof_attempt + 1, next_attempt_utc=now + UNASKED_SECONDS)
    request = commitment.Request(transaction, tuple((row.sop_class_uid, row.identifier) for row in rows))
    try:
        reported = load_kind("destination", settings.kind).request_commitment(settings, request, take_report)
    except PeerError as error:
        with database.begin() as connection:
            transactions.update(connection, transaction, state=transactions.UNDELIVERABLE, next_attempt_utc=None, detail=str(error))
            for row in rows:  # nobody was asked
                update_sent(connection, [row.delivery_id], proof_attempt=row.proof_attempt)
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
            update_sent(connection, [row.delivery_id], next_attempt_utc=now + later, **told)


def _out_of_patience(settings: ArchivingSettings, rows: Sequence[repository.Delivery]) -> bool:
    """Say whether the archive could not even be asked for so long that the second choice is taken."""
    return time.time() - max(row.done_utc or 0.0 for row in rows) > settings.patience_hours * 3600


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
            tell(connection, new[0].study_key, _ROOM, "proof.refused", f"No commitment: {what(new)}. {detail}")
        update_sent(connection, [r.delivery_id for r in rows], proof_detail=detail, next_attempt_utc=time.time() + SILENT_SECONDS)


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
        locked = [repository.load(connection, delivery_id, lock=True) for delivery_id in sorted(r.delivery_id for r in rows)]
        found = [row for row in locked if row.state == DeliveryState.SENT]
        proved(connection, [row for row in found if row.identifier in there], Proof.QUERY)
        for row in found:
            if row.identifier not in there:
                missing(connection, settings, row, "The archive does not show the object.", row.proof_attempt + 1, submit)
