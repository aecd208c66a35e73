"""Senders whose answers look mechanical: none counts until a person says so. One alarm each."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node import log
from dicom_node.store.tables import answer_channel, answer_object

TEXT = "The sender is suspended: its answers look mechanical."
_c = answer_channel.c


def is_suspended(connection: sa.Connection, calling_ae: str) -> bool:
    """Say whether nothing of this sender counts now."""
    query = sa.select(_c.name).where(_c.name == calling_ae, _c.suspended_utc.is_not(None))
    return connection.execute(query).first() is not None


def suspend(connection: sa.Connection, calling_ae: str, why: str, now_utc: float) -> tuple[str, ...]:
    """Let nothing of a sender count, nor what it sent and is not judged yet; return the studies of that.

    The alarm is given once: a sender that is suspended already stays so, silently.
    """
    if not is_suspended(connection, calling_ae):
        values = {"suspended_utc": now_utc, "why": why}
        if not connection.execute(sa.update(answer_channel).where(_c.name == calling_ae).values(**values)).rowcount:
            connection.execute(sa.insert(answer_channel).values(name=calling_ae, **values))
        log.event("answers.suspended", calling_ae=calling_ae, reason=why)
    o = answer_object.c
    waiting = sa.and_(o.door == "answer_ae", o.calling_ae == calling_ae, o.state == "waiting")
    studies = tuple(connection.execute(sa.select(o.study_key).where(waiting).distinct()).scalars())
    connection.execute(sa.update(answer_object).where(waiting).values(state="suspended", text=TEXT))
    return studies


def resume(connection: sa.Connection, calling_ae: str, by: str, now_utc: float) -> bool:
    """Let a sender's answers count from now on; says whether it was suspended. What it sent before stays without effect."""
    query = sa.update(answer_channel).where(_c.name == calling_ae, _c.suspended_utc.is_not(None))
    resumed = connection.execute(query.values(suspended_utc=None, resumed_utc=now_utc, resumed_by=by)).rowcount > 0
    if resumed:
        log.event("answers.resumed", calling_ae=calling_ae)
    return resumed


def resumed_at(connection: sa.Connection) -> dict[str, float]:
    """Return when each sender was let in again; what came before that makes nobody suspicious any more."""
    query = sa.select(_c.name, _c.resumed_utc).where(_c.resumed_utc.is_not(None))
    return {row.name: row.resumed_utc for row in connection.execute(query)}
