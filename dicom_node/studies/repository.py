"""Queries of the tables ``study`` and ``instance``, and what other rooms wrote about a study, read only."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from dicom_node.core.artifact import DICOM
from dicom_node.core.delivery import REPORTED, DeliveryState
from dicom_node.core.identifiers import study_key as key_of
from dicom_node.core.study import HeaderFacts, Instance, Mark
from dicom_node.store.erasure import ERASED
from dicom_node.store.prepared import Prepared
from dicom_node.store.tables import artifact, delivery, instance, lab_input, run, slice_mark, study
from dicom_node.studies.arrivals import InstanceState, Version

# Statements of every arrival, made once: building them costs more than running them.
_a, _i, _s = artifact.c, instance.c, study.c
_LOCKED_STUDY = Prepared(sa.select(study).where(_s.study_key == sa.bindparam("key")).with_for_update())
_NEW_STUDY = {
    "sqlite": sqlite.insert(study).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(study).on_conflict_do_nothing(),
}
_UPDATE_STUDY = sa.update(study).where(_s.study_key == sa.bindparam("of_study"))
_MOVE_DEADLINE = Prepared(
    sa.update(study).where(_s.study_key == sa.bindparam("of_study")), ("last_received_utc", "deadline_utc", "ceiling_utc")
)
_INSERT_INSTANCE = Prepared(
    sa.insert(instance).inline(),
    tuple(column.name for column in instance.columns if column.name not in ("instance_id", "deleted_utc")),
)
_VERSIONS = (
    sa.select(_i.instance_id, _i.digest, _i.state)
    .where(_i.sop_instance_uid == sa.bindparam("uid"), _i.study_key == sa.bindparam("key"))
    .order_by(_i.instance_id)
)
_NOTES = sa.select(_i.facts).where(_i.study_key == sa.bindparam("key"), _i.state == InstanceState.REJECTION_NOTE.value)
_WHAT_IS_KNOWN = Prepared(
    sa.select(
        sa.exists().where(_i.sop_instance_uid == sa.bindparam("uid")).label("came_before"),
        sa.exists().where(_a.identifier == sa.bindparam("uid"), _a.media_type == sa.bindparam("dicom")).label("is_ours"),
        sa.exists().where(_i.study_key == sa.bindparam("key"), _i.state == sa.bindparam("note")).label("has_notes"),
    )
)


class Known(NamedTuple):
    """What the tables say about an object that arrives; for nearly all: nothing."""

    came_before: bool  # some study has an object under its SOP Instance UID
    is_ours: bool  # this node made an object under its SOP Instance UID
    has_notes: bool  # its study has a rejection note


def study_row(connection: sa.Connection, study_key: str) -> sa.Row[Any] | None:
    """Return the study's row, for reading."""
    return connection.execute(sa.select(study).where(study.c.study_key == study_key)).first()


def locked_study(connection: sa.Connection, study_key: str) -> sa.Row[Any] | None:
    """Return the study's row, locked until the transaction ends (SQLite: the whole database is, from BEGIN on)."""
    found: sa.Row[Any] | None = _LOCKED_STUDY.first(connection, {"key": study_key})
    return found


def ensure_study(
    connection: sa.Connection, study_instance_uid: str, now_utc: float, ceiling_utc: float
) -> tuple[sa.Row[Any], bool]:
    """Return the study's row, locked, made where missing, and whether it was made.

    One that was erased is a new study under its old key: its revision and the numbers of its results go on.
    """
    key = key_of(study_instance_uid)
    row = locked_study(connection, key)
    if row is not None and row.state != ERASED:
        return row, False
    values = {
        "study_key": key,
        "study_instance_uid": study_instance_uid,
        "state": "receiving",
        "hold_reason": "",
        "first_received_utc": now_utc,
        "last_received_utc": now_utc,
        "deadline_utc": None,
        "ceiling_utc": ceiling_utc,
        "revision": 1 if row is None else row.revision,
    }
    if row is not None:
        connection.execute(_UPDATE_STUDY, {"of_study": key, **values})
        row = locked_study(connection, key)
        assert row is not None, "a row that was just written"
        return row, True
    # PostgreSQL: another association may have made it a moment ago
    made = connection.execute(_NEW_STUDY[connection.dialect.name], values).rowcount > 0
    row = locked_study(connection, key)
    assert row is not None, "a study that was just inserted"
    return row, made


def update_study(connection: sa.Connection, study_key: str, **values: object) -> None:
    """Change columns of one study."""
    connection.execute(_UPDATE_STUDY, {"of_study": study_key, **values})


def versions(connection: sa.Connection, study_key: str, sop_instance_uid: str) -> list[Version]:
    """Return what the study has under a SOP Instance UID, oldest first."""
    rows = connection.execute(_VERSIONS, {"uid": sop_instance_uid, "key": study_key})
    return [Version(row.instance_id, row.digest, InstanceState(row.state)) for row in rows]


def what_is_known(connection: sa.Connection, study_key: str, sop_instance_uid: str) -> Known:
    """Return what there is about an object that arrives. Asked after the study is locked, so that nobody adds to it meanwhile."""
    values = {"uid": sop_instance_uid, "key": study_key, "dicom": DICOM, "note": InstanceState.REJECTION_NOTE.value}
    return Known(*map(bool, _WHAT_IS_KNOWN.first(connection, values)))


def move_deadline(connection: sa.Connection, study_key: str, **values: float) -> None:
    """Write ``last_received_utc``, ``deadline_utc`` and ``ceiling_utc`` of a study."""
    _MOVE_DEADLINE.run(connection, {"of_study": study_key, **values})


def insert_instance(
    connection: sa.Connection, study_key: str, item: Instance, size: int, state: InstanceState, now_utc: float
) -> None:
    """Add a row; ``item.path`` is the storage key."""
    _INSERT_INSTANCE.run(
        connection,
        {
            "study_key": study_key,
            "sop_instance_uid": item.sop_instance_uid,
            "sop_class_uid": item.sop_class_uid,
            "series_instance_uid": item.series_instance_uid,
            "transfer_syntax_uid": item.transfer_syntax_uid,
            "digest": item.digest,
            "size": size,
            "storage_key": item.path,
            "facts": json.dumps(item.facts.to_json()),
            "state": state.value,
            "calling_ae": item.calling_ae,
            "called_ae": item.called_ae,
            "received_utc": now_utc,
        },
    )


def set_state(connection: sa.Connection, instance_id: int, state: InstanceState) -> None:
    """Change the state of one version."""
    connection.execute(sa.update(instance).where(instance.c.instance_id == instance_id).values(state=state.value))


def has_state(connection: sa.Connection, study_key: str, state: InstanceState) -> bool:
    """Say whether the study has a version in this state."""
    query = sa.select(instance.c.instance_id).where(instance.c.study_key == study_key, instance.c.state == state.value).limit(1)
    return connection.execute(query).first() is not None


def has_sop_class(connection: sa.Connection, study_key: str, sop_class_uids: Sequence[str]) -> bool:
    """Say whether the study has an object of one of these classes."""
    return connection.execute(_with_classes(tuple(sop_class_uids)), {"key": study_key}).first() is not None


@functools.cache
def _with_classes(sop_class_uids: tuple[str, ...]) -> sa.Select[Any]:
    return sa.select(_i.instance_id).where(_i.study_key == sa.bindparam("key"), _i.sop_class_uid.in_(sop_class_uids)).limit(1)


def facts_of_notes(connection: sa.Connection, study_key: str) -> list[dict[str, Any]]:
    """Return the header facts of the study's rejection notes, as JSON."""
    return list(connection.execute(_NOTES, {"key": study_key}).scalars())


def rows_in(connection: sa.Connection, study_key: str, *states: InstanceState) -> list[sa.Row[Any]]:
    """Return whole rows of the versions in these states, in order of arrival."""
    c = instance.c
    query = (
        sa.select(instance).where(c.study_key == study_key, c.state.in_([state.value for state in states])).order_by(c.instance_id)
    )
    return list(connection.execute(query))


def orders_named(connection: sa.Connection, study_key: str) -> set[tuple[str, tuple[str, ...], str, str]]:
    """Return (accession number, requested ones, Patient ID, issuer) of current versions. The database tells them apart.

    It is asked before every attempt to send: not for the whole header of each of three hundred slices.
    """
    c = instance.c
    elements = ("accession_number", "requested_accessions", "patient_id", "issuer_of_patient_id")
    query = sa.select(*(c.facts[name].as_string() for name in elements)).distinct()
    rows = connection.execute(query.where(c.study_key == study_key, c.state == InstanceState.CURRENT.value))
    return {(number or "", tuple(json.loads(more or "[]")), who or "", issuer or "") for number, more, who, issuer in rows}


def first_arrivals(connection: sa.Connection, study_key: str) -> dict[str, int]:
    """Return SOP Instance UID -> its place in the order of first arrival; a newer header does not change an image's place."""
    c = instance.c
    query = sa.select(c.sop_instance_uid, sa.func.min(c.instance_id)).where(c.study_key == study_key).group_by(c.sop_instance_uid)
    return {row[0]: row[1] for row in connection.execute(query)}


def due(connection: sa.Connection, now_utc: float) -> list[str]:
    """Return studies whose deadline has passed, longest overdue first."""
    query = sa.select(study.c.study_key).where(study.c.deadline_utc <= now_utc).order_by(study.c.deadline_utc, study.c.study_key)
    return list(connection.execute(query).scalars())


def shift_future_arrivals(connection: sa.Connection, now_utc: float, tolerance_seconds: float) -> int:
    """Move back the times of open studies whose last object came, by their row, in the future; return how many there were."""
    c = study.c
    ahead = c.last_received_utc - now_utc
    query = sa.update(study).where(c.deadline_utc.is_not(None), c.last_received_utc > now_utc + tolerance_seconds)
    moved = query.values(deadline_utc=c.deadline_utc - ahead, ceiling_utc=c.ceiling_utc - ahead, last_received_utc=now_utc)
    return connection.execute(moved).rowcount


def cap_deadlines(connection: sa.Connection, latest_utc: float) -> int:
    """Bring deadlines forward that lie behind ``latest_utc``; return how many there were."""
    query = sa.update(study).where(study.c.deadline_utc > latest_utc)
    return connection.execute(query.values(deadline_utc=latest_utc)).rowcount


def open_and_revised(connection: sa.Connection) -> list[str]:
    """Return studies that wait for their deadline in a later revision than the first."""
    query = sa.select(study.c.study_key).where(study.c.deadline_utc.is_not(None), study.c.revision > 1).order_by(study.c.study_key)
    return list(connection.execute(query).scalars())


def next_deadline(connection: sa.Connection) -> float | None:
    """Return the earliest deadline of all studies."""
    return connection.execute(sa.select(sa.func.min(study.c.deadline_utc))).scalar()


def facts_of(row: sa.Row[Any]) -> HeaderFacts:
    """Return the header facts of an instance's row."""
    return HeaderFacts.from_json(row.facts)


# --- for people --------------------------------------------------------------------------------------------------------


def counts(connection: sa.Connection, study_key: str) -> list[dict[str, Any]]:
    """Return how many versions the study has by modality and state."""
    modality = sa.func.coalesce(instance.c.facts["modality"].as_string(), "")
    query = (
        sa.select(modality.label("modality"), instance.c.state, sa.func.count().label("count"))
        .where(instance.c.study_key == study_key)
        .group_by(modality, instance.c.state)
        .order_by(modality, instance.c.state)
    )
    return [
        {"modality": row.modality or "", "state": row.state, "count": row.count} for row in connection.execute(query).mappings()
    ]


def recent(connection: sa.Connection, limit: int, *, with_report: bool = False) -> list[sa.Row[Any]]:
    """Return the studies heard of last; ``with_report``: only those whose result came after the radiologist's report."""
    query = sa.select(study).order_by(study.c.last_received_utc.desc(), study.c.study_key).limit(limit)
    if with_report:
        d = delivery.c
        late = sa.select(d.study_key).where(d.state == DeliveryState.WITHHELD.value, d.detail == REPORTED)
        query = query.where(study.c.study_key.in_(late))
    return list(connection.execute(query))


def runs_of(connection: sa.Connection, study_key: str) -> list[sa.Row[Any]]:
    """Return the study's runs, oldest first."""
    oldest_first = run.c.requested_utc, run.c.revision, run.c.run_key  # the time has whole seconds
    return list(connection.execute(sa.select(run).where(run.c.study_key == study_key).order_by(*oldest_first)))


def artifacts_of(connection: sa.Connection, study_key: str) -> list[sa.Row[Any]]:
    """Return what was made for the study."""
    query = (
        sa.select(artifact)
        .join(run, run.c.run_key == artifact.c.run_key)
        .where(run.c.study_key == study_key)
        .order_by(run.c.requested_utc, artifact.c.role)
    )
    return list(connection.execute(query))


def lab_inputs_of(connection: sa.Connection, study_key: str) -> list[str]:
    """Return the names of what the study's runs take from a laboratory."""
    query = sa.select(lab_input.c.name).where(lab_input.c.study_key == study_key).distinct().order_by(lab_input.c.name)
    return list(connection.execute(query).scalars())


def marks_said(connection: sa.Connection, study_key: str) -> tuple[Mark, ...]:
    """Return the slices that were marked on the node."""
    c = slice_mark.c
    rows = connection.execute(sa.select(c.sop_instance_uid, c.frame).where(c.study_key == study_key))
    return tuple((row.sop_instance_uid, row.frame or None) for row in rows)


def deliveries_of(connection: sa.Connection, study_key: str) -> list[sa.Row[Any]]:
    """Return where results of the study were sent, or not."""
    query = sa.select(delivery).where(delivery.c.study_key == study_key).order_by(delivery.c.planned_utc, delivery.c.delivery_id)
    return list(connection.execute(query))
