"""The delivery rows, and what must be read beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from dicom_node.core.artifact import kind_of
from dicom_node.core.delivery import DELIVERED, DeliveryState
from dicom_node.core.feedback import tells_of_answer, told_number
from dicom_node.core.identifiers import short_key
from dicom_node.core.run import AfterReport, Priority
from dicom_node.core.withdrawal import ROLES
from dicom_node.store.tables import artifact, delivery, run, study

#: Puts one attempt into the queue of its destination: connection, delivery id, attempt, destination, priority, delay in seconds.
Submit = Callable[[sa.Connection, str, int, str, int, float], None]

#: Not sent yet, and perhaps to be sent.
OPEN = (DeliveryState.WITHHELD, DeliveryState.QUEUED, DeliveryState.WAITING, DeliveryState.DEAD)
#: The peer has it.
TAKEN = (*DELIVERED, DeliveryState.SENT)


class Gone(KeyError):
    """There is no delivery of this name: its study was erased."""


class Delivery(NamedTuple):
    """One row, with what its artifact is."""

    delivery_id: str
    study_key: str
    run_key: str
    role: str
    destination: str
    state: str
    attempt: int
    planned_utc: float
    next_attempt_utc: float | None
    done_utc: float | None
    detail: str
    media_type: str
    identifier: str
    sop_class_uid: str
    refusal: bool
    storage_key: str
    sha256: str
    proof: str
    proved_utc: float | None
    proof_attempt: int
    proof_detail: str
    begun_utc: float | None
    run_state: str
    priority: int
    study_revision: int  # of the study, when the run was requested
    after_report: AfterReport

    @property
    def kind(self) -> str:
        """The output's kind."""
        return kind_of(self.role)


def _query() -> sa.Select[Any]:
    d, a = delivery.c, artifact.c
    columns = [d.delivery_id, d.study_key, d.run_key, a.role, d.destination, d.state, d.attempt, d.planned_utc, d.next_attempt_utc]
    columns += [
        d.done_utc,
        d.detail,
        a.media_type,
        a.identifier,
        a.sop_class_uid,
        a.refusal,
        a.storage_key,
        a.sha256,
        d.proof,
        d.proved_utc,
        d.proof_attempt,
        d.proof_detail,
        d.begun_utc,
        run.c.state,
        run.c.request,
    ]
    joined = delivery.join(artifact, d.artifact_id == a.artifact_id).join(run, d.run_key == run.c.run_key)
    return sa.select(*columns).select_from(joined).order_by(d.planned_utc, d.delivery_id)


def _row(row: sa.Row[Any]) -> Delivery:
    request = row[-1] or {}
    after_report = AfterReport(request.get("after_report", AfterReport.HOLD.value))
    priority, revision = int(request.get("priority", Priority.ROUTINE)), int(request.get("study_revision", 1))
    return Delivery._make([*row[:-1], priority, revision, after_report])


def load(connection: sa.Connection, delivery_id: str, *, lock: bool = False) -> Delivery:
    """Return one delivery; ``Gone`` (a ``KeyError``) when there is none of this name.

    ``lock``: nobody else changes the row before the transaction ends (SQLite: the whole database is locked from BEGIN on).
    """
    this = delivery.c.delivery_id == delivery_id
    if lock:  # by itself: what is read beside the row must not be older than the lock
        connection.execute(sa.select(delivery.c.delivery_id).where(this).with_for_update())
    row = connection.execute(_query().where(this)).first()
    if row is None:
        raise Gone(delivery_id)
    return _row(row)


def listed(
    connection: sa.Connection, *, study_key: str = "", states: Collection[str] = (), destination: str = ""
) -> list[Delivery]:
    """Return deliveries, oldest first, as far as every given condition holds."""
    query = _query()
    if study_key:
        query = query.where(delivery.c.study_key == study_key)
    if states:
        query = query.where(delivery.c.state.in_([str(state) for state in states]))
    if destination:
        query = query.where(delivery.c.destination == destination)
    return [_row(row) for row in connection.execute(query)]


def counted(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return the number of deliveries by destination and state."""
    d = delivery.c
    query = sa.select(d.destination, d.state, sa.func.count()).group_by(d.destination, d.state)
    return {(place, state): number for place, state, number in connection.execute(query)}


def artifact_ids(connection: sa.Connection, run_key: str) -> dict[str, str]:
    """Return the artifact ids of a run by role."""
    query = sa.select(artifact.c.role, artifact.c.artifact_id).where(artifact.c.run_key == run_key)
    return {row.role: row.artifact_id for row in connection.execute(query)}


def delivery_id(artifact_id: str, destination: str) -> str:
    """Return the row's name, derived from artifact and destination."""
    return short_key("dl", artifact_id, destination)


def insert(connection: sa.Connection, values: Mapping[str, Any]) -> bool:
    """Write one row; say whether it was new."""
    key = values["delivery_id"]
    if connection.execute(sa.select(delivery.c.delivery_id).where(delivery.c.delivery_id == key)).first():
        return False
    connection.execute(sa.insert(delivery).values(**values))
    return True


def update(connection: sa.Connection, delivery_id: str, **values: Any) -> None:
    """Change columns of one row."""
    connection.execute(sa.update(delivery).where(delivery.c.delivery_id == delivery_id).values(**values))


def update_if(connection: sa.Connection, delivery_id: str, states: Collection[DeliveryState], **values: Any) -> bool:
    """Change columns of one row as far as it still is in one of these states; says whether it was."""
    d = delivery.c
    query = sa.update(delivery).where(d.delivery_id == delivery_id, d.state.in_([str(state) for state in states]))
    return connection.execute(query.values(**values)).rowcount > 0


def begin(connection: sa.Connection, delivery_id: str, attempt: int, now_utc: float) -> bool:
    """Write that the peer may have it from now on; False when the row was settled, cancelled or taken by another attempt."""
    d = delivery.c
    states = [str(DeliveryState.QUEUED), str(DeliveryState.WAITING)]
    query = sa.update(delivery).where(d.delivery_id == delivery_id, d.attempt == attempt, d.state.in_(states))
    return connection.execute(query.values(begun_utc=sa.func.coalesce(d.begun_utc, now_utc))).rowcount > 0


def of_run(connection: sa.Connection, run_key: str) -> list[Delivery]:
    """Return the deliveries of one run, oldest first."""
    return [_row(row) for row in connection.execute(_query().where(delivery.c.run_key == run_key))]


def updates_of(connection: sa.Connection, of: Delivery) -> list[Delivery]:
    """Return what later runs on the same revision of the study have sent, or may have sent, to the same destination and what
    updates this in place there, oldest first."""
    this = connection.execute(sa.select(run.c.pipeline, run.c.revision).where(run.c.run_key == of.run_key)).one()
    query = _query().where(
        run.c.study_key == of.study_key,
        run.c.pipeline == this.pipeline,
        run.c.revision > this.revision,
        delivery.c.destination == of.destination,
        artifact.c.media_type == of.media_type,
        sa.or_(delivery.c.begun_utc.is_not(None), delivery.c.done_utc.is_not(None)),
    )
    return [row for row in map(_row, connection.execute(query)) if row.study_revision == of.study_revision]


def newer_answer(connection: sa.Connection, of: Delivery) -> list[Delivery]:
    """Return what tells of the newest answer to the same result, in the same form and place, after this one; or nothing."""
    rows = [row for row in of_run(connection, of.run_key) if row.destination == of.destination and row.media_type == of.media_type]
    newer = [row for row in rows if told_number(row.role) > told_number(of.role) and row.state != DeliveryState.CANCELLED]
    return sorted(newer, key=lambda row: told_number(row.role))[-1:]


def result_at(connection: sa.Connection, of: Delivery) -> list[Delivery]:
    """Return the deliveries of the result itself, of the same form and to the same destination, that ``of`` tells of."""
    rows = [row for row in of_run(connection, of.run_key) if row.destination == of.destination and row.media_type == of.media_type]
    return [row for row in rows if not tells_of_answer(row.role) and row.role not in ROLES]


def open_before(connection: sa.Connection, study_key: str, pipeline: str, revision: int) -> list[Delivery]:
    """Return unsent deliveries of earlier revisions of the same pipeline on the same study."""
    query = _query().where(
        run.c.study_key == study_key,
        run.c.pipeline == pipeline,
        run.c.revision < revision,
        delivery.c.state.in_([str(state) for state in OPEN]),
    )
    return [_row(row) for row in connection.execute(query)]


def has_later(connection: sa.Connection, study_key: str, pipeline: str, revision: int) -> bool:
    """Say whether a later revision has already planned deliveries."""
    query = (
        sa.select(delivery.c.delivery_id)
        .join(run, delivery.c.run_key == run.c.run_key)
        .where(run.c.study_key == study_key, run.c.pipeline == pipeline, run.c.revision > revision)
    )
    return connection.execute(query.limit(1)).first() is not None


def unproven(
    connection: sa.Connection, destination: str, due_utc: float, near_utc: float, latest_utc: float
) -> dict[str, list[Delivery]]:
    """Return what was sent there and is to be asked for, by study.

    Of a study with anything due at ``due_utc``, all is taken that is due until ``near_utc``: what was sent together is asked for
    together. What is due after ``latest_utc`` waits for a clock that was set back: it is due now.
    """
    at = delivery.c.next_attempt_utc
    waiting = delivery.c.state == str(DeliveryState.SENT), delivery.c.destination == destination
    due = sa.select(delivery.c.study_key).where(*waiting, sa.or_(at <= due_utc, at > latest_utc))
    near = sa.or_(at <= near_utc, at > latest_utc)
    rows = connection.execute(_query().where(*waiting, near, delivery.c.study_key.in_(due)))
    found: dict[str, list[Delivery]] = {}
    for row in rows:
        item = _row(row)
        found.setdefault(item.study_key, []).append(item)
    return found


def study_uid(connection: sa.Connection, study_key: str) -> str:
    """Return the Study Instance UID that an archive knows the study by."""
    return str(connection.execute(sa.select(study.c.study_instance_uid).where(study.c.study_key == study_key)).scalar_one())
