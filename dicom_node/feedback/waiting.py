"""What came as an answer and does not count yet, or never will without a person; and whose answers are suspended."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.store.tables import answer_channel, answer_message, answer_object

#: States that a person should know of. ``waiting`` passes by itself.
OPEN = ("waiting", "unclear", "quarantined", "suspended", "unreadable")


def list_waiting(connection: sa.Connection, states: tuple[str, ...] = OPEN, limit: int = 100) -> list[dict[str, Any]]:
    """Return objects and messages in these states, newest first: when, which way, from whom, what became of each.

    Keys: ``at_utc, way, sender, receiver, study_key, run_key, state, text``. No identifiers of a patient or an object.
    """
    o, m = answer_object.c, answer_message.c
    newest = o.object_id.desc()
    objects = connection.execute(sa.select(answer_object).where(o.state.in_(states)).order_by(newest).limit(limit))
    messages = connection.execute(sa.select(answer_message).where(m.state.in_(states)).order_by(m.message_id.desc()).limit(limit))
    shared = ("study_key", "run_key", "state", "text")
    found = [
        {"at_utc": row.received_utc, "way": row.door, "sender": row.calling_ae, "receiver": row.called_ae}
        | {name: getattr(row, name) for name in shared}
        for row in objects
    ]
    found += [
        {"at_utc": row.at_utc, "way": row.channel, "sender": "", "receiver": ""} | {name: getattr(row, name) for name in shared}
        for row in messages
    ]
    return sorted(found, key=lambda one: one["at_utc"], reverse=True)[:limit]


def count_waiting(connection: sa.Connection) -> dict[str, int]:
    """Return how many objects and messages there are, by state."""
    counts: dict[str, int] = {}
    for table in (answer_object, answer_message):
        for state, count in connection.execute(sa.select(table.c.state, sa.func.count()).group_by(table.c.state)):
            counts[state] = counts.get(state, 0) + count
    return counts


def suspended(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return the senders whose answers do not count, and why: ``name, suspended_utc, why``."""
    c = answer_channel.c
    query = sa.select(c.name, c.suspended_utc, c.why).where(c.suspended_utc.is_not(None)).order_by(c.suspended_utc)
    return [dict(row) for row in connection.execute(query).mappings()]
