"""Rows of what archives said of a study, and its deadline while they are asked. Rows are the truth: a restart asks on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.core.artifact import DICOM
from dicom_node.store.tables import archive_answer, artifact, instance, run, study
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.evidence import Answer

_QUESTIONS = ("count", "fetch", "busy", "waived")


def note_answer(connection: sa.Connection, study_key: str, archive: str, answer: Answer) -> None:
    """Keep one answer."""
    told: dict[str, Any] = {
        "counts": dict(answer.counts),
        "instances": {series: list(uids) for series, uids in answer.instances.items()},
        "classes": list(answer.classes),
        "problem": answer.problem,
        "final": answer.final,
    }
    row = {"study_key": study_key, "at_utc": answer.at_utc, "archive": archive, "question": answer.question, "answer": told}
    connection.execute(sa.insert(archive_answer).values(**row))


def answers_since(connection: sa.Connection, study_key: str, since_utc: float) -> list[Answer]:
    """Return what was answered about a study since then, oldest first."""
    c = archive_answer.c
    query = (
        sa.select(c.at_utc, c.question, c.answer)
        .where(c.study_key == study_key, c.at_utc >= since_utc, c.question.in_(_QUESTIONS))
        .order_by(c.answer_id)
    )
    return [
        Answer(
            at_utc,
            question,
            told.get("counts", {}),
            {series: tuple(uids) for series, uids in told.get("instances", {}).items()},
            tuple(told.get("classes", ())),
            told.get("problem", ""),
            told.get("final", False),
        )
        for at_utc, question, told in connection.execute(query)
    ]


def held_by_series(connection: sa.Connection, study_key: str) -> dict[str, set[str]]:
    """Return SOP Instance UIDs that are here, by series, our own results left out."""
    c = instance.c
    query = sa.select(c.series_instance_uid, c.sop_instance_uid).where(
        c.study_key == study_key, c.state != InstanceState.OURS.value
    )
    held: dict[str, set[str]] = {}
    for series_uid, sop_instance_uid in connection.execute(query):
        held.setdefault(series_uid, set()).add(sop_instance_uid)
    return held


def own_objects(connection: sa.Connection, study_key: str) -> set[str]:
    """Return SOP Instance UIDs of what this node made for the study, and of what came back from there."""
    made = (
        sa.select(artifact.c.identifier)
        .join(run, run.c.run_key == artifact.c.run_key)
        .where(run.c.study_key == study_key, artifact.c.media_type == DICOM)
    )
    c = instance.c
    back = sa.select(c.sop_instance_uid).where(c.study_key == study_key, c.state == InstanceState.OURS.value)
    return {*connection.execute(made).scalars(), *connection.execute(back).scalars()}


def senders(connection: sa.Connection, study_key: str) -> set[str]:
    """Return the AE titles that sent objects of the study."""
    query = sa.select(instance.c.calling_ae).where(instance.c.study_key == study_key).distinct()
    return set(connection.execute(query).scalars())


def ceiling_utc(connection: sa.Connection, study_key: str) -> float:
    """Return when the study starts at the latest."""
    return float(connection.execute(sa.select(study.c.ceiling_utc).where(study.c.study_key == study_key)).scalar_one())


def put_off_while_asked(connection: sa.Connection, study_key: str, now_utc: float, until_utc: float) -> bool:
    """Move the deadline of a study that is due at ``now_utc``; False when something arrived meanwhile and moved it already."""
    due = sa.and_(study.c.study_key == study_key, study.c.deadline_utc <= now_utc)
    return connection.execute(sa.update(study).where(due).values(deadline_utc=until_utc)).rowcount > 0


def look_again(connection: sa.Connection, study_key: str, lease_utc: float, at_utc: float) -> None:
    """Let a study be looked at ``at_utc`` instead of ``lease_utc``; a deadline that an arrival has set stands."""
    same = sa.and_(study.c.study_key == study_key, study.c.deadline_utc == lease_utc)
    connection.execute(sa.update(study).where(same).values(deadline_utc=at_utc))
