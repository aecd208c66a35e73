"""A person lets a delivery be that was given up: nothing more is sent of it, and its study is not kept for it any longer.

For what a person has changed, or has put right, at the receiver: sending again would overwrite it or be refused again.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from dicom_node.core.delivery import DeliveryState
from dicom_node.delivery import repository
from dicom_node.delivery.attempt import ROOM
from dicom_node.delivery.plan import words
from dicom_node.store.story import tell

LEFT = "A person left it at the receiver as it is there."


def leave_dead(connection: sa.Connection, delivery_ids: Collection[str]) -> list[str]:
    """Settle given-up deliveries of these names as left, in the caller's transaction; return the ids that were."""
    left = []
    for row in repository.listed(connection, states=(DeliveryState.DEAD,)):
        if row.delivery_id not in delivery_ids:
            continue
        values = {"state": str(DeliveryState.CANCELLED), "next_attempt_utc": None, "detail": LEFT}
        if repository.update_if(connection, row.delivery_id, (DeliveryState.DEAD,), **values):
            text = f"Nothing more is sent: {words([row.role])} to {row.destination}. {LEFT}"
            tell(connection, row.study_key, ROOM, "delivery.left", text)
            left.append(row.delivery_id)
    return left
