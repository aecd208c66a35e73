"""What a question about a delivery comes to: proved, sent again, parked, or told that nobody knows. In the caller's transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.core import withdrawal
from dicom_node.core.delivery import DeliveryState, Proof
from dicom_node.delivery import repository
from dicom_node.delivery.proof import Missing, when_missing
from dicom_node.delivery.repository import Submit
from dicom_node.delivery.settings import ArchivingSettings
from dicom_node.store import tables
from dicom_node.store.story import tell

_ROOM = "delivery"
_CANNOT = "The archive cannot be asked for now"


def proved(connection: sa.Connection, rows: Iterable[repository.Delivery], proof: Proof) -> None:
    """Settle as delivered; what was sent with a warning keeps it."""
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
            Proof.ANSWER: "the peer's success status counts as its proof",
        }[proof]
        tell(connection, rows[0].study_key, _ROOM, "delivery.done", f"Delivered: {what(rows)}; {how}.")


def missing(
    connection: sa.Connection, settings: ArchivingSettings, row: repository.Delivery, text: str, asked: int, submit: Submit
) -> None:
    """The archive took it and does not have it: send it again, or, after as many times as are allowed, tell a person.

    What was withdrawn or replaced meanwhile may well have been removed from the archive by that: it is left alone.
    """
    unwanted = _unwanted(connection, row)
    if unwanted:
        detail = f"{text} {unwanted} It is not sent again."
        repository.update(
            connection, row.delivery_id, state=str(DeliveryState.CANCELLED), next_attempt_utc=None, detail=detail, proof_detail=""
        )
        tell(connection, row.study_key, _ROOM, "delivery.cancelled", f"{what([row])}: {detail}")
        return
    if when_missing(settings, asked) is Missing.PARK:
        park(connection, row, f"{text} It was sent {row.attempt} times and asked for {asked} times.")
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
    tell(connection, row.study_key, _ROOM, "delivery.again", f"Sent again: {what([row])}. {text}")
    submit(connection, row.delivery_id, attempt, row.destination, row.priority, 0.0)


def _unwanted(connection: sa.Connection, row: repository.Delivery) -> str:
    if row.role in withdrawal.ROLES:
        return ""
    if row.run_state == "withdrawn":
        return "The result was withdrawn."
    return "A later result replaced it." if repository.updates_of(connection, row) else ""


def park(connection: sa.Connection, row: repository.Delivery, text: str) -> None:
    """Give up, until a person sends it again."""
    repository.update(
        connection, row.delivery_id, state=str(DeliveryState.DEAD), next_attempt_utc=None, detail=text, proof_detail=text
    )
    tell(connection, row.study_key, _ROOM, "delivery.parked", f"Not delivered: {what([row])}. {text}")


def tell_unproven(connection: sa.Connection, rows: Sequence[repository.Delivery]) -> None:
    """Say once that no proof can be had."""
    text = "No proof could be had; the archive is asked on once a day."
    new = [row for row in rows if not row.proof_detail.endswith(text)]
    if new:
        tell(connection, new[0].study_key, _ROOM, "proof.missing", f"Sent, but not proven: {what(new)}. {text}")
    for row in new:
        update_sent(connection, [row.delivery_id], proof_detail=f"{row.proof_detail} {text}".strip())


def put_off(connection: sa.Connection, rows: Iterable[repository.Delivery], until_utc: float, why: str) -> None:
    """Ask again then; told once a study."""
    detail = f"{_CANNOT}: {why}"
    d = tables.delivery.c
    rows = list(rows)
    for key in sorted({row.study_key for row in rows}):
        new = [row for row in rows if row.study_key == key and not row.proof_detail.startswith(_CANNOT)]
        if new:
            tell(connection, key, _ROOM, "proof.waiting", f"Not proven yet: {what(new)}. {_CANNOT}.")
    for row in rows:  # those that were proved or sent again in this pass are not touched
        connection.execute(
            sa.update(tables.delivery)
            .where(d.delivery_id == row.delivery_id, d.state == str(DeliveryState.SENT), d.proof_attempt == row.proof_attempt)
            .values(next_attempt_utc=until_utc, proof_detail=detail)
        )


def update_sent(connection: sa.Connection, ids: Sequence[str], **values: Any) -> None:
    """Change rows as far as they are still sent and unproven: a report may have come first."""
    d = tables.delivery.c
    connection.execute(
        sa.update(tables.delivery).where(d.delivery_id.in_(ids), d.state == str(DeliveryState.SENT)).values(**values)
    )


def what(rows: Sequence[repository.Delivery]) -> str:
    """Return these deliveries, all to one destination, in words."""
    return ", ".join(row.role.replace("_", " ") for row in rows) + f" to {rows[0].destination}"
