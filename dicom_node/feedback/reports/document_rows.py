"""Rows of documents that came by the usual doors and may be answers (``answer_object``, door ``ingest``)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dicom_node.core.artifact import DICOM
from dicom_node.core.study import Instance
from dicom_node.store.tables import answer_object, artifact

DOOR = "ingest"
_c = answer_object.c


def is_ours(connection: sa.Connection, sop_instance_uid: str) -> bool:
    """Say whether this node made an object of that UID."""
    query = sa.select(artifact.c.artifact_id).where(artifact.c.identifier == sop_instance_uid, artifact.c.media_type == DICOM)
    return connection.execute(query.limit(1)).first() is not None


def is_listed(connection: sa.Connection, sop_instance_uid: str, digest: str) -> bool:
    """Say whether these bytes came before."""
    same = (_c.door == DOOR, _c.sop_instance_uid == sop_instance_uid, _c.digest == digest)
    return connection.execute(sa.select(_c.object_id).where(*same).limit(1)).first() is not None


def add(connection: sa.Connection, study_key: str, item: Instance, received_utc: float) -> None:
    """Let a document wait to be read; ``item.path`` is the storage key. In the transaction that records the instance."""
    connection.execute(
        sa.insert(answer_object).values(
            door=DOOR,
            calling_ae=item.calling_ae,
            called_ae=item.called_ae,
            study_key=study_key,
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            digest=item.digest,
            storage_key=item.path,
            received_utc=received_utc,
            state="waiting",
        )
    )


def waiting(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Return what waits to be read, in order of arrival."""
    query = sa.select(answer_object).where(_c.state == "waiting", _c.door == DOOR).order_by(_c.object_id)
    return list(connection.execute(query))


def settle(connection: sa.Connection, object_id: int, state: str, text: str, run_key: str = "") -> bool:
    """Write what became of a document; False when that was written already."""
    query = sa.update(answer_object).where(_c.object_id == object_id, _c.state == "waiting")
    return connection.execute(query.values(state=state, text=text, run_key=run_key)).rowcount > 0
