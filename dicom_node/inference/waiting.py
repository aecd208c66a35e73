"""Runs that wait for laboratory values, and what runs take from a laboratory: the table ``lab_input``.

A run that waits is a row with a deadline and no workflow. It goes on when somebody (``stages/clinical_data.py``) writes that it is
queued, in the transaction that submits its workflow; so a crash leaves it waiting or queued, and nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.core.identifiers import patient_key
from dicom_node.core.laboratory import LabInput
from dicom_node.inference.repository import WAITING
from dicom_node.store.story import tell, tell_once
from dicom_node.store.tables import lab_input, run

#: States of a run that has read its values, or has failed to go on after it did.
_READING = ("queued", "running", "analysed")


class Mark(NamedTuple):
    """How far the tables of values had been written when a run began: it reads no later ones, however often it begins."""

    lab_result_id: int
    lab_answer_id: int


def keep_inputs(
    connection: sa.Connection, run_key: str, study_key: str, patient: tuple[str, str], inputs: Sequence[LabInput]
) -> None:
    """Write what a run takes from a laboratory.

    Parameters
    ----------
    patient
        Patient ID and issuer of the study's images.
    """
    number, _, issuer = patient_key(*patient).partition("|")
    shared = {"run_key": run_key, "study_key": study_key, "number": number, "issuer": issuer}
    for one in inputs:
        choices = [list(choice) for choice in one.choices]
        values = {"part": one.part, "name": one.name, "codes": list(one.codes), "choices": choices}
        connection.execute(sa.insert(lab_input).values(**shared, **values))


def inputs_of(connection: sa.Connection, study_key: str) -> list[sa.Row[Any]]:
    """Return what the newest runs of a study take from a laboratory, each part with its run's state, pipeline and request."""
    return _newest(connection, lab_input.c.study_key == study_key)


def patient_of(connection: sa.Connection, run_key: str) -> tuple[str, str] | None:
    """Return Patient ID and issuer, as compared, of a run that takes values; ``None``: of nobody, or it takes none."""
    c = lab_input.c
    row = connection.execute(sa.select(c.number, c.issuer).where(c.run_key == run_key).limit(1)).first()
    return (row.number, row.issuer) if row is not None and row.number else None


def runs_taking(connection: sa.Connection, numbers: Collection[str], since_utc: float) -> list[sa.Row[Any]]:
    """Return what the newest runs take of studies whose patient has one of these numbers, if they were requested since then."""
    return _newest(connection, lab_input.c.number.in_(sorted(numbers)), run.c.requested_utc >= since_utc)


def _newest(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> list[sa.Row[Any]]:
    """Return parts of the newest run of each study and pipeline, those left out that were cancelled."""
    r = run.c
    query = (
        sa.select(lab_input, r.state, r.pipeline, r.revision, r.request)
        .join(run, r.run_key == lab_input.c.run_key)
        .where(*which, r.state.not_in(("cancelled", "unchanged", "erased")))
        .order_by(r.revision.desc(), lab_input.c.study_key, r.pipeline, lab_input.c.part)
    )
    rows = list(connection.execute(query))
    newest: dict[tuple[str, str], str] = {}
    for row in rows:
        newest.setdefault((row.study_key, row.pipeline), row.run_key)
    return [row for row in rows if newest[row.study_key, row.pipeline] == row.run_key]


def tell_late(connection: sa.Connection, row: sa.Row[Any], how: str, now_utc: float) -> bool:
    """Tell, once a part, that a value came after its run had begun to read; says whether it did.

    Parameters
    ----------
    row
        Of ``inputs_of`` or ``runs_taking``.
    how
        "came", or "was said by a person".
    """
    if row.state not in _READING or row.request.get("labs_read") is None:
        return False
    c = lab_input.c
    query = sa.update(lab_input).where(c.run_key == row.run_key, c.part == row.part, c.late_utc.is_(None))
    if connection.execute(query.values(late_utc=now_utc)).rowcount == 0:
        return False
    text = f"{row.pipeline}: {row.name} {how} after result {row.revision} was begun; not used, and nothing runs again by itself."
    tell(connection, row.study_key, "inference", "value.late", text)
    return True


def tell_changed(connection: sa.Connection, row: sa.Row[Any], how: str) -> None:
    """Tell, once, that a value which a run had read does not hold any more.

    Parameters
    ----------
    row
        Of ``runs_taking``.
    how
        "corrected", or "taken back".
    """
    if row.state not in _READING:
        return
    text = (
        f"{row.pipeline}: {row.name} was {how} by the laboratory after result {row.revision} was begun, which may rest on what it "
        "was before; nothing runs again by itself. A result that does not hold: dicom-node studies withdraw."
    )
    tell_once(connection, row.study_key, "inference", "value.changed", text)


def end_wait(connection: sa.Connection, run_key: str, now_utc: float) -> bool:
    """Queue a run that waits; says whether it did. What it makes is of now, not of when it was requested."""
    query = sa.update(run).where(run.c.run_key == run_key, run.c.state == WAITING)
    return connection.execute(query.values(state="queued", requested_utc=float(int(now_utc)))).rowcount > 0


def bring_forward(connection: sa.Connection, run_key: str, until_utc: float) -> None:
    """Move the deadline of a run that waits."""
    _write(connection, run_key, {"wait_until_utc": until_utc})


def begin_reading(connection: sa.Connection, run_key: str, now: Mark) -> Mark:
    """Return how far a run reads the tables of values: as written at its first beginning, else as they are ``now``."""
    request = connection.execute(sa.select(run.c.request).where(run.c.run_key == run_key).with_for_update()).scalar_one()
    if request.get("labs_read") is None:
        _write(connection, run_key, {"labs_read": list(now)})
        return now
    return Mark(*request["labs_read"])


def _write(connection: sa.Connection, run_key: str, values: dict[str, Any]) -> None:
    request = connection.execute(sa.select(run.c.request).where(run.c.run_key == run_key).with_for_update()).scalar_one()
    connection.execute(sa.update(run).where(run.c.run_key == run_key).values(request={**request, **values}))
