"""An object comes for a study whose objects retention has deleted: stored anew, and nothing is analysed twice."""

from __future__ import annotations

import sqlalchemy as sa

from dicom_node.core.study import Instance
from dicom_node.store.story import read_story, tell
from dicom_node.store.tables import instance as instances
from dicom_node.studies import rejection, repository
from dicom_node.studies.arrivals import InstanceState

_ROOM = "studies"


def take_back(connection: sa.Connection, study_key: str, item: Instance, *, size: int, received_utc: float, is_image: bool) -> bool:
    """Take an object of a study with deleted objects, in the caller's transaction; say whether that was all there is to do.

    The same bytes again: the row gets its file back. A new object: kept, not analysed, since the images beside it are gone. The
    same SOP Instance UID with other bytes is not settled here: it may correct a patient.

    Parameters
    ----------
    is_image
        Neither a result of ours nor a rejection note, which are taken as ever.
    """
    c = instances.c
    query = sa.select(instances).where(c.study_key == study_key, c.sop_instance_uid == item.sop_instance_uid)
    known = list(connection.execute(query.order_by(c.instance_id)))
    same = [row for row in known if row.digest == item.digest]
    if same:
        if same[-1].deleted_utc is None:
            return False
        values = {"storage_key": item.path, "size": size, "received_utc": received_utc, "deleted_utc": None}
        connection.execute(sa.update(instances).where(c.instance_id == same[-1].instance_id).values(**values))
        _remember(connection, study_key, received_utc)
        if not _opened(connection, study_key, received_utc):
            _tell_once_in_a_row(connection, study_key, "Objects that were deleted came again; they are kept anew, nothing runs.")
        return True
    if known or not is_image:
        return False
    rejected = rejection.is_rejected(connection, study_key, item.sop_instance_uid)
    state = InstanceState.REJECTED if rejected else InstanceState.HELD
    repository.insert_instance(connection, study_key, item, size, state, received_utc)
    _remember(connection, study_key, received_utc)
    text = "Another object came after the study's objects were deleted; it is kept and not analysed."
    _tell_once_in_a_row(connection, study_key, text)
    return True


def objects_missing(connection: sa.Connection, study_key: str) -> bool:
    """Say whether retention has deleted an object that counts for the study."""
    c = instances.c
    query = sa.select(c.instance_id).where(
        c.study_key == study_key, c.state == InstanceState.CURRENT.value, c.deleted_utc.is_not(None)
    )
    return connection.execute(query.limit(1)).first() is not None


def _remember(connection: sa.Connection, study_key: str, now_utc: float) -> None:
    c = instances.c
    query = sa.select(c.instance_id).where(c.study_key == study_key, c.deleted_utc.is_not(None)).limit(1)
    values: dict[str, object] = {"last_received_utc": now_utc}
    if connection.execute(query).first() is None:
        values["pixels_deleted_utc"] = None
    repository.update_study(connection, study_key, **values)


def _opened(connection: sa.Connection, study_key: str, now_utc: float) -> bool:
    """Look again at a study that was held for what was deleted of it, once all of that is here; says whether it was."""
    row = repository.study_row(connection, study_key)
    if row is None or (row.state, row.hold_reason) != ("held", "images_deleted") or objects_missing(connection, study_key):
        return False
    values = {"state": "receiving", "hold_reason": "", "deadline_utc": now_utc, "ceiling_utc": now_utc}
    repository.update_study(connection, study_key, **values)
    text = "All that was deleted of the study came again; it is looked at again."
    tell(connection, study_key, _ROOM, "study.reopened", text)
    return True


def _tell_once_in_a_row(connection: sa.Connection, study_key: str, text: str) -> None:
    lines = read_story(connection, study_key)
    if not lines or lines[-1].text != text:
        tell(connection, study_key, _ROOM, "instance.returned", text)
