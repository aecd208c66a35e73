"""What a person said of a study that a laboratory would say: smear, species, or that nobody knows. Kept with who and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import sqlalchemy as sa

from dicom_node.store.tables import lab_answer


class Said(NamedTuple):
    """The newest answer to one part. ``value``: empty when the person said that nobody knows it."""

    part: str
    code: str  # code^scheme
    value: str
    login: str
    said_utc: float


def say(connection: sa.Connection, study_key: str, answers: Mapping[str, tuple[str, str]], login: str, now_utc: float) -> None:
    """Write what a person said, in the caller's transaction.

    Parameters
    ----------
    answers
        Part -> (code, value).
    """
    shared = {"study_key": study_key, "login": login, "said_utc": now_utc}
    for part, (code, value) in answers.items():
        connection.execute(sa.insert(lab_answer).values(part=part, code=code, value=value, **shared))


def said_of(connection: sa.Connection, study_key: str, until: int | None = None) -> list[Said]:
    """Return the newest answer to each part; ``until``: none that was written after the row of this number."""
    c = lab_answer.c
    query = sa.select(lab_answer).where(c.study_key == study_key).order_by(c.lab_answer_id)
    if until is not None:
        query = query.where(c.lab_answer_id <= until)
    newest = {row.part: Said(row.part, row.code, row.value, row.login, row.said_utc) for row in connection.execute(query)}
    return list(newest.values())


def newest(connection: sa.Connection) -> int:
    """Return the number of the row that was written last; 0: there is none."""
    return int(connection.execute(sa.select(sa.func.max(lab_answer.c.lab_answer_id))).scalar() or 0)
