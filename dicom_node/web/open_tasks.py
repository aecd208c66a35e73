"""What a reader is asked to do, most urgent first. What would give a blinded case away is not shown."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from dicom_node.core.feedback import OPINIONS
from dicom_node.store.tables import run, task, verdict

#: Cases read before the AI's result is shown. A golden case looks like any other that was drawn at random.
BLINDED = ("random_audit", "golden_case", "low_consensus")
_SHOWN_AS = {"golden_case": "random_audit"}
_WORDS = {
    "amend": "To amend",
    "mandatory_audit": "Mandatory audit",
    "gray_zone": "Gray zone",
    "high_confidence_confusion": "Certain, but contradicted",
    "low_consensus": "Another reader",
    "random_audit": "Audit",
    "chosen_to_learn": "To learn from",
}
_BLINDED_WHY = "Read the image first; the result is shown afterwards."


@dataclass(frozen=True)
class OpenTask:
    """One thing to do. ``kind`` and ``why`` are as the reader may see them."""

    task_id: str
    kind: str
    words: str
    why: str
    run_key: str
    study_key: str
    pipeline: str
    opened_utc: float
    due_utc: float | None
    blinded: bool

    @property
    def url(self) -> str:
        """Its page, below the node's address."""
        return f"/results/{self.run_key}?task={self.task_id}"

    @property
    def late(self) -> bool:
        """Whether it should be done by now."""
        return self.due_utc is not None and self.due_utc < time.time()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "url": self.url}


def open_tasks(connection: sa.Connection, reader: str, limit: int = 500) -> list[OpenTask]:
    """Return what is open for a reader (pseudonym): the one with the nearest due time first.

    Of what is for anybody, cases that the reader has answered are left out: another pair of eyes is wanted.
    """
    t, v = task.c, verdict.c
    mine = sa.select(v.run_key).where(v.reader == reader, v.verdict.in_(list(OPINIONS)))
    anybodys = sa.and_(t.reader == "", sa.or_(t.kind == "amend", t.run_key.not_in(mine)))
    query = (
        sa.select(task, run.c.pipeline)
        .join(run, run.c.run_key == t.run_key)
        .where(t.closed_utc.is_(None), sa.or_(anybodys, sa.and_(t.reader == reader, t.reader != "")))
        .order_by(t.due_utc.is_(None), t.due_utc, t.opened_utc, t.task_id)
        .limit(limit)
    )
    return [_shown(row) for row in connection.execute(query)]


def open_task_of(connection: sa.Connection, task_id: str, run_key: str, reader: str) -> OpenTask | None:
    """Return a task on a result if it is open for the reader."""
    query = (
        sa.select(task, run.c.pipeline)
        .join(run, run.c.run_key == task.c.run_key)
        .where(task.c.task_id == task_id, task.c.run_key == run_key, task.c.closed_utc.is_(None), task.c.reader.in_(("", reader)))
    )
    row = connection.execute(query).first()
    return _shown(row) if row is not None else None


def _shown(row: Any) -> OpenTask:
    kind, blinded = _SHOWN_AS.get(row.kind, row.kind), row.kind in BLINDED
    return OpenTask(
        task_id=row.task_id,
        kind=kind,
        words=_WORDS.get(kind, kind.replace("_", " ").capitalize()),
        why=_BLINDED_WHY if blinded else row.why,
        run_key=row.run_key,
        study_key=row.study_key,
        pipeline=row.pipeline,
        opened_utc=row.opened_utc,
        due_utc=row.due_utc,
        blinded=blinded,
    )
