"""Rows of polling: which studies were answered by the node, and what each archive said of them (``archive_answer``)."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.core.delivery import DELIVERED
from dicom_node.feedback.polling import Asked
from dicom_node.store.tables import archive_answer, artifact, delivery, instance, run, study, verdict

_QUESTION = "documents"


class Answered(NamedTuple):
    """A study that a result was delivered for."""

    study_key: str
    study_instance_uid: str
    delivered_utc: float
    answered: bool  # a person has answered it since


def answered_studies(connection: sa.Connection, since_utc: float) -> list[Answered]:
    """Return the studies that a result was delivered for since then, newest first."""
    delivered = sa.func.max(delivery.c.done_utc)
    said = sa.select(verdict.c.number).where(verdict.c.study_key == study.c.study_key).exists()
    query = (
        sa.select(study.c.study_key, study.c.study_instance_uid, delivered.label("delivered_utc"), said.label("answered"))
        .join(delivery, delivery.c.study_key == study.c.study_key)
        .where(delivery.c.state.in_([state.value for state in DELIVERED]), delivery.c.done_utc >= since_utc)
        .group_by(study.c.study_key, study.c.study_instance_uid)
        .order_by(delivered.desc())
    )
    return [Answered(key, uid, at, bool(answered)) for key, uid, at, answered in connection.execute(query)]


def asked_before(connection: sa.Connection, archive: str) -> dict[str, Asked]:
    """Return what came of asking an archive, by study."""
    c = archive_answer.c
    query = sa.select(c.study_key, c.at_utc, c.answer).where(c.archive == archive, c.question == _QUESTION)
    return {key: Asked(at_utc, told.get("listed", {}), told.get("fetched", {})) for key, at_utc, told in connection.execute(query)}


def note(connection: sa.Connection, study_key: str, archive: str, asked: Asked) -> None:
    """Keep what came of asking, in the place of what came before: one row a study and archive."""
    c = archive_answer.c
    same = (c.study_key == study_key, c.archive == archive, c.question == _QUESTION)
    values = {"at_utc": asked.at_utc, "answer": {"listed": dict(asked.listed), "fetched": dict(asked.fetched)}}
    if not connection.execute(sa.update(archive_answer).where(*same).values(**values)).rowcount:
        row = {"study_key": study_key, "archive": archive, "question": _QUESTION, **values}
        connection.execute(sa.insert(archive_answer).values(**row))


def objects_here(connection: sa.Connection, study_key: str) -> set[str]:
    """Return SOP Instance UIDs of what came for a study, and of what the node made for it."""
    came = sa.select(instance.c.sop_instance_uid).where(instance.c.study_key == study_key)
    made = sa.select(artifact.c.identifier).join(run, run.c.run_key == artifact.c.run_key).where(run.c.study_key == study_key)
    return {*connection.execute(came).scalars(), *connection.execute(made).scalars()}
