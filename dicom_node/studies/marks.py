"""Slices that a person marked on the node: kept beside those that documents of the study mark, and the study is looked at again."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from dicom_node.core.errors import UsageError
from dicom_node.core.study import HeaderFacts, Mark
from dicom_node.store.story import tell
from dicom_node.store.tables import slice_mark
from dicom_node.studies import repository
from dicom_node.studies.arrivals import InstanceState
from dicom_node.studies.step import find_study

#: Nobody marks more one by one.
MOST_MARKS = 500


def mark_slices(connection: sa.Connection, key_or_uid: str, marks: Sequence[Mark], now_utc: float) -> str:
    """Replace the marks made on the node by these (none: take them back), in the caller's transaction; return the study's key.

    A study that was routed is due at once: with other slices to read it gets another run. One that is held stays held.

    Raises
    ------
    UsageError
        The node has not heard of the study, or a mark names no image of it, or no frame of a multi-frame one.
    """
    key = find_study(connection, key_or_uid)
    row = repository.locked_study(connection, key)
    assert row is not None, "found a moment ago, in the same transaction"
    if len(marks) > MOST_MARKS:
        raise UsageError(f"{len(marks)} slices are too many to be marked one by one; {MOST_MARKS} are the most")
    images = {r.sop_instance_uid: repository.facts_of(r) for r in repository.rows_in(connection, key, InstanceState.CURRENT)}
    wanted = {_checked(images, uid, frame) for uid, frame in marks}
    if wanted == set(repository.marks_said(connection, key)):
        return key
    connection.execute(sa.delete(slice_mark).where(slice_mark.c.study_key == key))
    for uid, frame in sorted(wanted, key=lambda mark: (mark[0], mark[1] or 0)):
        values = {"study_key": key, "sop_instance_uid": uid, "frame": frame or 0, "marked_utc": now_utc}
        connection.execute(sa.insert(slice_mark).values(**values))
    text = f"A person marked {len(wanted)} {'slice' if len(wanted) == 1 else 'slices'} on the node."
    tell(connection, key, "studies", "slices.marked", text if wanted else "A person took the marks made on the node back.")
    if row.state == "routed":
        repository.update_study(connection, key, state="receiving", deadline_utc=now_utc, ceiling_utc=now_utc)
    return key


def _checked(images: dict[str, HeaderFacts], uid: str, frame: int | None) -> Mark:
    """Return the mark as it is kept: a frame only of a multi-frame object."""
    facts = images.get(uid)
    if facts is None or not facts.has_pixel_data:
        raise UsageError("a marked slice is no image of the study")
    frames = facts.frames or 1
    if frames == 1 and frame in (None, 1):
        return uid, None
    if frame is None or not 1 <= frame <= frames:
        raise UsageError(f"a marked slice is no frame of its object, which has {frames}")
    return uid, frame
