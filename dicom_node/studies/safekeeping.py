"""What a modality is promised: which of its objects lie on this node's disk, whole. And what a person keeps by legal hold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from dicom_node.core.errors import UsageError
from dicom_node.store.story import tell
from dicom_node.store.tables import instance, study
from dicom_node.studies import repository
from dicom_node.studies.files import object_path
from dicom_node.studies.step import find_study

KEPT, NO_SUCH_INSTANCE, CONFLICT = 0x0000, 0x0112, 0x0119  # Failure Reason, PS3.3, C.14.1.1


def promise(connection: sa.Connection, objects: Sequence[tuple[str, str]], home: Path) -> dict[str, int]:
    """Say of each object (SOP class, instance) whether it is kept, and write down that it is promised, in the caller's transaction.

    Kept means: a row under this UID and class, and a file of the size that was written. From then on retention leaves the study
    alone (``study.committed_utc``).

    Returns
    -------
    dict
        By SOP Instance UID: 0, or the Failure Reason.
    """
    verdicts: dict[str, int] = {}
    promised: set[str] = set()
    c = instance.c
    _lock_studies(connection, [uid for _, uid in objects])  # retention must not take away what is looked at here
    for sop_class, uid in objects:
        query = sa.select(c.study_key, c.sop_class_uid, c.storage_key, c.size)
        rows = list(connection.execute(query.where(c.sop_instance_uid == uid, c.deleted_utc.is_(None))))
        whole = [row for row in rows if row.sop_class_uid == sop_class and _is_whole(home, row.storage_key, row.size)]
        if whole:
            verdicts[uid] = KEPT
            promised |= {row.study_key for row in whole}
        else:
            verdicts[uid] = CONFLICT if rows and all(row.sop_class_uid != sop_class for row in rows) else NO_SUCH_INSTANCE
    for key in sorted(promised):
        row = repository.locked_study(connection, key)
        if row is not None and row.committed_utc is None:
            repository.update_study(connection, key, committed_utc=time.time())
            text = "The sender was promised that the node keeps the objects; they are not deleted."
            tell(connection, key, "studies", "study.committed", text)
    return verdicts


def _lock_studies(connection: sa.Connection, uids: Sequence[str]) -> None:
    c = instance.c
    keys: set[str] = set()
    for start in range(0, len(uids), 500):
        keys |= set(connection.execute(sa.select(c.study_key).where(c.sop_instance_uid.in_(uids[start : start + 500]))).scalars())
    for key in sorted(keys):
        repository.locked_study(connection, key)


def _is_whole(home: Path, storage_key: str, size: int) -> bool:
    try:
        return object_path(home, storage_key).stat().st_size == size
    except (OSError, ValueError):
        return False


def set_legal_hold(connection: sa.Connection, key_or_uid: str, *, held: bool) -> str:
    """Keep a study from every deletion, or let it go again; returns its key.

    Raises
    ------
    UsageError
        The node has not heard of it, or it stands so already.
    """
    key = find_study(connection, key_or_uid)
    row = repository.locked_study(connection, key)
    assert row is not None, "found a moment ago, in the same transaction"
    if bool(row.legal_hold) is held:
        raise UsageError(f"{key} is {'already' if held else 'not'} under legal hold")
    connection.execute(sa.update(study).where(study.c.study_key == key).values(legal_hold=held))
    text = "A person put the study under legal hold: nothing of it is deleted." if held else "A person ended the legal hold."
    tell(connection, key, "studies", "study.legal_hold" if held else "study.legal_hold_ended", text)
    return key
