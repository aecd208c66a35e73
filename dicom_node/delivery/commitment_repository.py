"""The rows of storage commitment, both ways.

``asked``: a transaction of ours; ``items`` is delivery id by SOP Instance UID. ``answered``: a request of a modality; ``items`` is
``{"called_ae": ..., "objects": [[SOP class, SOP instance], ...]}``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from dicom_node.engine.retry import LONGEST_SECONDS
from dicom_node.store.tables import commitment

ASKED, ANSWERED = "asked", "answered"
#: No report is put off for longer: one that is waits for a clock that was set back.
_LATEST_SECONDS = LONGEST_SECONDS + 60.0
OPEN, REPORTED, EXPIRED, UNDELIVERABLE = "open", "reported", "expired", "undeliverable"


def insert(
    connection: sa.Connection, transaction_uid: str, direction: str, peer: str, items: Any, now_utc: float, due_utc: float | None
) -> bool:
    """Write an open transaction; say whether its UID was new."""
    row = {"transaction_uid": transaction_uid, "direction": direction, "peer": peer, "state": OPEN, "items": items}
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(commitment).values(**row, requested_utc=now_utc, next_attempt_utc=due_utc))
    except IntegrityError:
        return False
    return True


def read(connection: sa.Connection, transaction_uid: str) -> sa.Row[Any]:
    """Return a transaction."""
    return connection.execute(sa.select(commitment).where(commitment.c.transaction_uid == transaction_uid)).one()


def locked(connection: sa.Connection, transaction_uid: str, direction: str) -> sa.Row[Any] | None:
    """Return a transaction, locked until the caller's transaction ends."""
    c = commitment.c
    query = sa.select(commitment).where(c.transaction_uid == transaction_uid, c.direction == direction)
    return connection.execute(query.with_for_update()).first()


def update(connection: sa.Connection, transaction_uid: str, **values: Any) -> None:
    """Change columns of one transaction."""
    connection.execute(sa.update(commitment).where(commitment.c.transaction_uid == transaction_uid).values(**values))


def expire(connection: sa.Connection, destination: str, delivery_ids: Collection[str]) -> None:
    """Close our open transactions about these deliveries: they are asked about anew, under another UID."""
    c = commitment.c
    query = sa.select(c.transaction_uid, c["items"]).where(c.direction == ASKED, c.state == OPEN, c.peer == destination)
    for row in list(connection.execute(query)):
        if not set(row._mapping["items"].values()).isdisjoint(delivery_ids):
            update(connection, row.transaction_uid, state=EXPIRED, next_attempt_utc=None)


def due_answers(connection: sa.Connection, now_utc: float) -> list[sa.Row[Any]]:
    """Return the requests of modalities whose report is to be sent now, oldest first."""
    c = commitment.c
    due = sa.or_(c.next_attempt_utc <= now_utc, c.next_attempt_utc > now_utc + _LATEST_SECONDS)
    query = sa.select(commitment).where(c.direction == ANSWERED, c.state == OPEN, due)
    return list(connection.execute(query.order_by(c.requested_utc)))
