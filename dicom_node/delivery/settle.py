"""What an attempt came to, and what is sent once more: after a failure, for a person, after a crash of the engine."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from dicom_node.core.delivery import DeliveryState, Outcome, Proof, Receipt
from dicom_node.core.withdrawal import ROLES
from dicom_node.delivery import repository, withdraw
from dicom_node.delivery.attempt import ROOM, SENDABLE
from dicom_node.delivery.plan import words
from dicom_node.delivery.proof import first_question_seconds, wanted_proof
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import DestinationSettings
from dicom_node.engine.retry import next_delay_seconds
from dicom_node.store.story import tell

GRACE_SECONDS = 5.0


def settle_delivery(
    database: sa.Engine,
    delivery_id: str,
    attempt: int,
    receipt: Receipt,
    destinations: Mapping[str, DestinationSettings],
    submit: Submit,
) -> None:
    """Write what an attempt came to: state, story and, where it failed for now, the next attempt, all in one transaction.

    Settling again changes nothing. A delivery that was cancelled while it was being sent is told as delivered, because it was; and
    what took it back or replaced it follows it once more, since that may have been there first.
    """
    now = time.time()
    with database.begin() as connection:
        row = repository.load(connection, delivery_id, lock=True)
        if row.attempt != attempt or row.state not in (*SENDABLE, DeliveryState.CANCELLED):
            return
        what = f"{words([row.role])} to {row.destination}"
        overtaken = row.state == DeliveryState.CANCELLED
        delivered = receipt.outcome in (Outcome.DELIVERED, Outcome.WARNING)
        if delivered:
            _settle_taken(connection, row, receipt, destinations.get(row.destination), now, overtaken=overtaken)
        if overtaken and (delivered or (receipt.in_doubt and row.begun_utc is not None)):
            withdraw.follow(connection, row, submit)
        if overtaken or delivered:
            return
        if not receipt.in_doubt:
            repository.update(connection, delivery_id, begun_utc=None)
        settings = destinations.get(row.destination)
        patience = settings.patience_hours * 3600 if settings else 0.0
        impatient = now - row.planned_utc >= patience and row.role not in ROLES  # what takes a result back is never given up on
        if receipt.outcome is Outcome.REJECT or impatient:
            why = "" if receipt.outcome is Outcome.REJECT else " (out of patience)"
            repository.update(
                connection, delivery_id, state=str(DeliveryState.DEAD), next_attempt_utc=None, detail=receipt.detail + why
            )
            tell(connection, row.study_key, ROOM, "delivery.parked", f"Not delivered: {what}{why}. {receipt.detail}")
            return
        delay = next_delay_seconds(attempt, delivery_id)
        repository.update(
            connection,
            delivery_id,
            state=str(DeliveryState.WAITING),
            attempt=attempt + 1,
            next_attempt_utc=now + delay,
            detail=receipt.detail,
        )
        if receipt.detail != row.detail:  # a destination that is down for days makes one line, not hundreds
            tell(connection, row.study_key, ROOM, "delivery.waiting", f"Not delivered yet: {what}; tried again. {receipt.detail}")
        submit(connection, delivery_id, attempt + 1, row.destination, row.priority, delay)


def _settle_taken(
    connection: sa.Connection,
    row: repository.Delivery,
    receipt: Receipt,
    settings: DestinationSettings | None,
    now: float,
    *,
    overtaken: bool,
) -> None:
    """The peer took it: delivered, where its answer is the proof; else sent, until the proof is there."""
    warned = receipt.outcome is Outcome.WARNING
    warning = f", with a warning: {receipt.detail}" if warned else "."
    late = " It had been replaced while it was on its way." if overtaken else ""
    what = f"{words([row.role])} to {row.destination}{warning}{late}"
    values: dict[str, Any] = {"done_utc": now, "detail": receipt.detail}
    wanted = wanted_proof(settings)
    if wanted is Proof.ANSWER:
        values |= {"state": str(DeliveryState.WARNED if warned else DeliveryState.DONE), "next_attempt_utc": None}
        values |= {"proof": str(Proof.ANSWER), "proved_utc": now, "proof_detail": ""}
        tell(connection, row.study_key, ROOM, "delivery.done", f"Delivered, accepted by the peer: {what}")
    else:
        values |= {"state": str(DeliveryState.SENT), "next_attempt_utc": now + first_question_seconds(settings, row.proof_attempt)}
        values |= {"detail": receipt.detail if warned else "", "proof": "", "proved_utc": None}
        if not row.proof_attempt:  # what is sent again was told already
            tell(connection, row.study_key, ROOM, "delivery.sent", f"Sent, not proven yet: {what}")
    repository.update(connection, row.delivery_id, **values)


def retry_dead(connection: sa.Connection, delivery_ids: Iterable[str] | None, submit: Submit) -> list[str]:
    """Send given-up deliveries again, all or those named, in the caller's transaction; return the ids that were.

    Patience starts anew. One that was sent and is not proven is sent again only when it is named.
    """
    wanted = None if delivery_ids is None else set(delivery_ids)
    again = []
    states = (DeliveryState.DEAD,) if wanted is None else (DeliveryState.DEAD, DeliveryState.SENT)
    for row in repository.listed(connection, states=states):
        if wanted is not None and row.delivery_id not in wanted:
            continue
        attempt = row.attempt + 1
        values = {"state": str(DeliveryState.QUEUED), "attempt": attempt, "planned_utc": time.time(), "next_attempt_utc": None}
        if not repository.update_if(connection, row.delivery_id, states, **values, proof_attempt=0, proof_detail=""):
            continue
        tell(
            connection,
            row.study_key,
            ROOM,
            "delivery.retried",
            f"{words([row.role])} to {row.destination}: a person asked to send it again.",
        )
        submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)
        again.append(row.delivery_id)
    return again


def unfinished(connection: sa.Connection) -> list[repository.Delivery]:
    """Return the deliveries that an attempt must exist for: what a sweep submits again if the engine has lost it."""
    return repository.listed(connection, states=SENDABLE)


def resubmit_lost(connection: sa.Connection, alive: Collection[str], submit: Submit) -> int:
    """Submit again what is due but has no living workflow (ids in ``alive`` have one); return how many.

    The attempt gets a new number, because the engine runs an id once. A grace of a few seconds leaves alone what is just starting.
    An attempt that is further away than its delay ever was waits for a clock that was set back: it is made now.
    """
    now = time.time()

    def lost(row: repository.Delivery) -> bool:
        due = row.next_attempt_utc or 0.0
        if due > now + next_delay_seconds(max(1, row.attempt - 1), row.delivery_id) + GRACE_SECONDS:
            return True
        return row.delivery_id not in alive and max(row.planned_utc, due) < now - GRACE_SECONDS

    found = [row for row in unfinished(connection) if lost(row)]
    for row in found:
        attempt = row.attempt + 1
        values = {"state": str(DeliveryState.QUEUED), "attempt": attempt, "next_attempt_utc": None}
        if repository.update_if(connection, row.delivery_id, SENDABLE, **values):
            submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)
    return len(found)
