"""Objects at answer AE titles: their rows, and what other rooms' tables say about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from dicom_node.core.artifact import DICOM
from dicom_node.core.study import Instance
from dicom_node.feedback.channels.answer_ae import Arrival
from dicom_node.store.tables import answer_object, artifact, delivery, instance, run

DOOR = "answer_ae"
#: UIDs in one question: SQLite allows no more than 32,766 parameters.
_MOST = 500
_o = answer_object.c


def is_answered_study(connection: sa.Connection, study_key: str, sop_instance_uid: str) -> bool:
    """Say whether this node has made anything for a study, or made the object itself: then sending it can be an answer."""
    of_study = sa.select(artifact.c.artifact_id).join(run, run.c.run_key == artifact.c.run_key).where(run.c.study_key == study_key)
    ours = sa.select(artifact.c.artifact_id).where(artifact.c.identifier == sop_instance_uid, artifact.c.media_type == DICOM)
    return any(connection.execute(query.limit(1)).first() is not None for query in (ours, of_study))


def insert(
    connection: sa.Connection, item: Instance, study_key: str, *, received_utc: float, association: str, state: str, text: str
) -> bool:
    """Add a row for one object; says whether its file is referred to.

    The same bytes are kept once, those of a suspended sender not at all: a PACS that forwards everything must not fill the disk.
    The same object again in its association is no other answer, and has no row.
    """
    same = sa.and_(_o.door == DOOR, _o.association == association, _o.sop_instance_uid == item.sop_instance_uid)
    if connection.execute(sa.select(_o.object_id).where(same, _o.study_key == study_key)).first() is not None:
        return False
    kept = state != "suspended" and not _is_kept(connection, study_key, item)
    connection.execute(
        sa.insert(answer_object).values(
            door=DOOR,
            association=association,
            calling_ae=item.calling_ae,
            called_ae=item.called_ae,
            study_key=study_key,
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            digest=item.digest,
            storage_key=item.path if kept else "",
            received_utc=received_utc,
            state=state,
            text=text,
        )
    )
    return kept


def _is_kept(connection: sa.Connection, study_key: str, item: Instance) -> bool:
    i = instance.c
    answers = sa.select(_o.object_id).where(
        _o.study_key == study_key, _o.sop_instance_uid == item.sop_instance_uid, _o.digest == item.digest, _o.storage_key != ""
    )
    images = sa.select(i.instance_id).where(
        i.study_key == study_key, i.sop_instance_uid == item.sop_instance_uid, i.digest == item.digest, i.deleted_utc.is_(None)
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (answers, images))


def end_association(connection: sa.Connection, association: str, ended_utc: float, problem: str = "") -> None:
    """Note that an association was released; with ``problem`` nothing that it brought counts."""
    query = sa.update(answer_object).where(_o.association == association, _o.door == DOOR)
    connection.execute(query.values(ended_utc=ended_utc))
    if problem:
        connection.execute(query.where(_o.state == "waiting").values(state="unclear", text=problem))


def oldest_waiting(connection: sa.Connection) -> float | None:
    """Return when the oldest object came that is not judged yet."""
    query = sa.select(sa.func.min(_o.received_utc)).where(_o.state == "waiting", _o.door == DOOR)
    found: float | None = connection.execute(query).scalar()
    return found


def arrivals_since(connection: sa.Connection, since_utc: float) -> list[Arrival]:
    """Return what came since then, but for what is suspended or erased, with whose it is and when that was delivered."""
    columns = (
        *(_o.object_id, _o.association, _o.calling_ae, _o.called_ae, _o.study_key, _o.sop_instance_uid),
        *(_o.received_utc, _o.ended_utc, _o.state, _o.digest),
    )
    query = sa.select(*columns).where(_o.door == DOOR, _o.received_utc >= since_utc, _o.state.not_in(("suspended", "erased")))
    rows = [dict(row) for row in connection.execute(query.order_by(_o.received_utc, _o.object_id)).mappings()]
    ours = _ours(connection, sorted({row["sop_instance_uid"] for row in rows}))
    return [Arrival(**row, **ours.get(row["sop_instance_uid"], {})) for row in rows]


def _ours(connection: sa.Connection, uids: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    of_artifact: dict[str, str] = {}
    a, d = artifact.c, delivery.c
    for group in _groups(uids):
        query = sa.select(a.identifier, a.artifact_id, a.run_key, a.role, run.c.study_key)
        query = query.join(run, run.c.run_key == a.run_key).where(a.identifier.in_(group), a.media_type == DICOM)
        for row in connection.execute(query):
            found[row.identifier] = {"run_key": row.run_key, "role": row.role, "run_study_key": row.study_key}
            of_artifact[row.artifact_id] = row.identifier
    delivered = defaultdict(list)
    for group in _groups(sorted(of_artifact)):
        since = sa.func.coalesce(d.done_utc, d.begun_utc)  # without its answer a peer may have it all the same
        moments = sa.select(d.artifact_id, since).where(d.artifact_id.in_(group), since.is_not(None))
        for artifact_id, at_utc in connection.execute(moments):
            delivered[of_artifact[artifact_id]].append(at_utc)
    return {uid: facts | {"delivered": tuple(delivered[uid])} for uid, facts in found.items()}


def _groups(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[first : first + _MOST] for first in range(0, len(items), _MOST))


def still_waiting(connection: sa.Connection, object_ids: Iterable[int]) -> set[int]:
    """Return which of these nobody has judged meanwhile, locked until the transaction ends."""
    query = sa.select(_o.object_id).where(_o.object_id.in_(sorted(object_ids)), _o.state == "waiting").with_for_update()
    return set(connection.execute(query).scalars())


def settle(connection: sa.Connection, object_ids: Iterable[int], state: str, text: str, run_key: str = "") -> None:
    """Write what became of objects."""
    query = sa.update(answer_object).where(_o.object_id.in_(sorted(object_ids)))
    connection.execute(query.values(state=state, text=text, run_key=run_key))


def last_answer(connection: sa.Connection, run_key: str, calling_ae: str, before_utc: float) -> tuple[str, float] | None:
    """Return which answer a sender gave last to a result before a moment, and when; ``None``: none that counted."""
    query = sa.select(_o.called_ae, _o.received_utc).where(
        *(_o.door == DOOR, _o.run_key == run_key, _o.calling_ae == calling_ae, _o.state == "read", _o.received_utc < before_utc)
    )
    row = connection.execute(query.order_by(_o.received_utc.desc(), _o.object_id.desc()).limit(1)).first()
    return None if row is None else (row.called_ae, row.received_utc)


def old_files(connection: sa.Connection, before_utc: float, limit: int = 500) -> list[Any]:
    """Return rows (``object_id``, ``storage_key``) of judged objects that came before then and have a file."""
    query = sa.select(_o.object_id, _o.storage_key).where(
        _o.door == DOOR, _o.storage_key != "", _o.state.not_in(("waiting", "erased")), _o.received_utc < before_utc
    )
    return list(connection.execute(query.order_by(_o.object_id).limit(limit)))


def forget_files(connection: sa.Connection, object_ids: Iterable[int]) -> None:
    """Note that the files of these objects are gone."""
    connection.execute(sa.update(answer_object).where(_o.object_id.in_(sorted(object_ids))).values(storage_key=""))
