"""What an archive reports on storage commitment, written down: kept, or what each failed object needs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dicom_node import log
from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.delivery import commitment, repository
from dicom_node.delivery import commitment_repository as transactions
from dicom_node.delivery.commitment import FailureMeaning, Remedy, Report, failure_meaning
from dicom_node.delivery.proof import first_question_seconds
from dicom_node.delivery.proof_outcome import missing, park, proved, update_sent, what
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import ArchivingSettings, DestinationSettings
from dicom_node.store.story import tell

_ROOM = "delivery"
#: Clocks of workers on several hosts may be so far apart.
_CLOCK_TOLERANCE_SECONDS = 10.0


def take_report(connection: sa.Connection, report: Report, destinations: Mapping[str, DestinationSettings], submit: Submit) -> bool:
    """Write down what an archive reports, in the caller's transaction; say whether the transaction is one of ours.

    A transaction is reported on once. Of one that was given up meanwhile only the good news counts: the objects are asked about
    again under another UID. Nothing of it counts for an object that was sent again since: what the archive kept then is gone.
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
    named = [repository.load(connection, delivery_id, lock=True) for delivery_id in sorted(row._mapping["items"].values())]
    waiting = [item for item in named if item.state == DeliveryState.SENT and not _sent_since(row.requested_utc, item)]
    kept = [item for item in waiting if report.committed.get(item.identifier) == item.sop_class_uid]
    proved(connection, kept, Proof.COMMITMENT)
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


def _sent_since(asked_utc: float, row: repository.Delivery) -> bool:
    """Say whether it was sent again after the question; by a clock that was set back since, nothing can be said."""
    return row.done_utc is not None and asked_utc + _CLOCK_TOLERANCE_SECONDS < row.done_utc <= time.time()


def _not_committed(
    connection: sa.Connection, settings: Any, row: repository.Delivery, meaning: FailureMeaning | None, submit: Submit
) -> None:
    """Do what a failed object needs; ``None``: the report does not mention it."""
    meaning = meaning or FailureMeaning(Remedy.ASK_AGAIN, "The archive's report does not mention it.")
    if meaning.remedy is Remedy.SEND_AGAIN:
        missing(connection, settings, row, meaning.text, row.proof_attempt, submit)
    elif meaning.remedy is Remedy.PERSON:
        park(connection, row, meaning.text)
    else:
        asked = row.proof_attempt
        if meaning.remedy is Remedy.OTHER_PROOF:
            asked = max(asked, settings.proof_tries)
        soon = time.time() + first_question_seconds(settings, asked)
        update_sent(connection, [row.delivery_id], proof_attempt=asked, next_attempt_utc=soon, proof_detail=meaning.text)
        if row.proof_detail != meaning.text:
            tell(connection, row.study_key, _ROOM, "proof.refused", f"{what([row])}: {meaning.text}")
