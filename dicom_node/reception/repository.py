"""Reception's own tables: the diary of associations. Refused objects are written by ``intake``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.store.tables import association


def insert(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows of associations that are over."""
    if rows:
        connection.execute(sa.insert(association), list(rows))


def insert_open(connection: sa.Connection, row: dict[str, Any]) -> int:
    """Add the row of an association that goes on, and return its id."""
    made = connection.execute(sa.insert(association).values(row)).inserted_primary_key
    assert made is not None, "a single row"
    return int(made[0])


def update(connection: sa.Connection, association_id: int, row: dict[str, Any]) -> None:
    """Bring a row up to date."""
    connection.execute(sa.update(association).where(association.c.association_id == association_id).values(row))


def mark_dead(connection: sa.Connection, receivers: Sequence[str]) -> int:
    """Say of the associations that these receivers had open that they died with them; return how many."""
    a = association.c
    query = sa.update(association).where(a.ended_utc.is_(None), a.ended_by == "", a.receiver.in_(list(receivers)))
    return connection.execute(query.values(ended_by="node died")).rowcount


def open_receivers(connection: sa.Connection) -> list[str]:
    """Return the receivers that have associations whose end is not known."""
    a = association.c
    return list(connection.execute(sa.select(a.receiver).where(a.ended_utc.is_(None), a.ended_by == "").distinct()).scalars())


def forget(connection: sa.Connection, before_utc: float) -> None:
    """Delete what is older."""
    connection.execute(sa.delete(association).where(association.c.started_utc < before_utc))


def recent(connection: sa.Connection, limit: int, calling_ae: str = "") -> list[sa.Row[Any]]:
    """Return the newest associations, newest first."""
    query = sa.select(association).order_by(association.c.started_utc.desc(), association.c.association_id.desc()).limit(limit)
    if calling_ae:
        query = query.where(association.c.calling_ae == calling_ae)
    return list(connection.execute(query))
