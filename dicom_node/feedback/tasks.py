"""What people are asked to do about a result: say what is right, audit, settle a difference. Closed by an answer."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import OPINIONS, Strength
from dicom_node.core.identifiers import short_key
from dicom_node.store.tables import task, verdict

#: A person asked for it by sending a result to the answer AE title "amend".
AMEND = "amend"
#: These need a reader who has not answered the result before: another opinion, or one that the AI has not touched.
FRESH = ("low_consensus", "random_audit", "golden_case")


def open_task(
    connection: sa.Connection, kind: str, run_key: str, study_key: str, why: str, due_utc: float | None = None, reader: str = ""
) -> str:
    """Ask for something, in the caller's transaction; return the task's id. What is asked already is not asked twice.

    A task of a worklist that was closed stays closed, so that a list can be drawn up again at any time; "amend" is opened again,
    because a person did something for it.
    """
    task_id = short_key("tk", run_key, kind, reader)
    c = task.c
    known = connection.execute(sa.select(c.closed_utc).where(c.task_id == task_id)).first()
    asked = {"why": why, "opened_utc": time.time(), "due_utc": due_utc}
    if known is None:
        names = {"task_id": task_id, "kind": kind, "run_key": run_key, "study_key": study_key, "reader": reader}
        connection.execute(sa.insert(task).values(**names, **asked))
    elif known.closed_utc is not None and kind == AMEND:
        connection.execute(sa.update(task).where(c.task_id == task_id).values(**asked, closed_utc=None, closed_by=""))
    return task_id


def open_kinds(connection: sa.Connection, run_key: str, reader: str) -> tuple[str, ...]:
    """Return the kinds of the open tasks on a result that are meant for a reader, or for anybody."""
    c = task.c
    query = sa.select(c.kind).where(c.run_key == run_key, c.closed_utc.is_(None), c.reader.in_(("", reader)))
    return tuple(connection.execute(query.order_by(c.opened_utc)).scalars())


def close_tasks(connection: sa.Connection, run_key: str, closed_by: str) -> int:
    """Close tasks on a result, in the caller's transaction; return how many.

    An answer (``closed_by`` is its feedback id) closes what was asked of its reader or of anybody: a strong opinion closes all
    kinds, but those of ``FRESH`` only if its reader had not answered before; a weak one closes "amend" alone. Any other
    ``closed_by`` is a reason in words why nothing is asked any more, and closes all.
    """
    c = task.c
    open_ones = list(connection.execute(sa.select(task).where(c.run_key == run_key, c.closed_utc.is_(None))))
    if not open_ones:
        return 0
    answer = connection.execute(sa.select(verdict).where(verdict.c.feedback_id == closed_by)).first()
    if answer is not None:
        if answer.verdict not in OPINIONS:
            return 0
        open_ones = [one for one in open_ones if one.reader in ("", answer.reader)]
        if answer.strength != Strength.STRONG:
            open_ones = [one for one in open_ones if one.kind == AMEND]
        elif any(one.kind in FRESH for one in open_ones) and _had_answered(connection, answer):
            open_ones = [one for one in open_ones if one.kind not in FRESH]
    closing = sa.update(task).where(c.task_id.in_([one.task_id for one in open_ones]))
    connection.execute(closing.values(closed_utc=time.time(), closed_by=closed_by))
    return len(open_ones)


def _had_answered(connection: sa.Connection, answer: Any) -> bool:
    """Say whether the reader had an opinion on the result before this one."""
    c = verdict.c
    earlier = sa.select(c.number).where(
        c.run_key == answer.run_key, c.reader == answer.reader, c.number < answer.number, c.verdict.in_(list(OPINIONS))
    )
    return connection.execute(earlier.limit(1)).first() is not None
