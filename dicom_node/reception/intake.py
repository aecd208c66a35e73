"""One received object: checked, written, recorded. Success is said after all three, and only then."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from dicom_node.core import identifiers
from dicom_node.core.study import Instance
from dicom_node.imaging.header import first_text, read_facts, read_header
from dicom_node.reception.object_file import ObjectFiles, file_meta
from dicom_node.reception.status import CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS, DimseStatus, ObjectRefused
from dicom_node.store import tables


@dataclass(frozen=True)
class Command:
    """What the C-STORE-RQ and its association say about the data set that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    context_sop_class_uid: str  # abstract syntax of the presentation context
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str


class Record(Protocol):
    """Writes an instance's row, its study's deadline and story; called inside one transaction.

    ``instance.path`` is the storage key. Returns whether the file is now referred to: of a repeated object the first file is kept.
    """

    def __call__(self, connection: sa.Connection, instance: Instance, *, size: int, received_utc: float) -> bool: ...


class Intake:
    """Takes objects into HOME/store and the database."""

    def __init__(self, home: Path, database: sa.Engine, record: Record, clock: Callable[[], float] = time.time) -> None:
        self._files = ObjectFiles(home.resolve() / "store")
        self._database = database
        self._record = record
        self._clock = clock

    def receive(self, command: Command, data: bytes) -> bool:
        """Check, write and record one object; when this returns, the object survives a power cut.

        Returns
        -------
        bool
            False when the same bytes were here already.

        Raises
        ------
        ObjectRefused, StudyError
            The object cannot be taken; nothing of it is kept.
        OSError, SQLAlchemyError
            Disk or database failed. After a database error the file may lie there without a row: the transaction's fate is not
            known here, so the clean-up at start decides.
        """
        instance = examined(command, data)
        meta = file_meta(instance.sop_class_uid, instance.sop_instance_uid, instance.transfer_syntax_uid, command.calling_ae)
        key, size = self._files.write(identifiers.study_key(instance.study_instance_uid), meta, data)
        stored = Instance(**{**vars(instance), "path": key})
        with self._database.begin() as connection:
            kept = self._record(connection, stored, size=size, received_utc=self._clock())
        if not kept:
            self._files.remove(key)
        return kept

    def note_refusal(self, calling_ae: str, called_ae: str, status: DimseStatus, comment: str) -> None:
        """Keep a row of an object that was not taken.

        Raises
        ------
        SQLAlchemyError
            The database failed; the sender has its answer all the same.
        """
        with self._database.begin() as connection:
            connection.execute(
                sa.insert(tables.refused_object).values(
                    at_utc=self._clock(), calling_ae=calling_ae, called_ae=called_ae, status=status.code, text=comment
                )
            )


def examined(command: Command, data: bytes) -> Instance:
    """Return what the data set is, if it is what the command says (PS3.4, B.2.2: SOP class and instance must be the same).

    Raises
    ------
    ObjectRefused
        The data set contradicts the command, or lacks a UID or has one that is none (PS3.5, 9.1).
    StudyError
        The header cannot be read.
    """
    if not data:
        raise ObjectRefused(CANNOT_UNDERSTAND, "The data set is empty")
    header = read_header(data, command.transfer_syntax_uid)
    if header.truncated:
        raise ObjectRefused(CANNOT_UNDERSTAND, "The data set is cut off inside its header")
    ds = header.dataset
    sop_class_uid, sop_instance_uid = first_text(ds, "SOPClassUID"), first_text(ds, "SOPInstanceUID")
    study_uid, series_uid = first_text(ds, "StudyInstanceUID"), first_text(ds, "SeriesInstanceUID")
    for name, uid in (
        ("SOP Class UID", sop_class_uid),
        ("SOP Instance UID", sop_instance_uid),
        ("Study Instance UID", study_uid),
        ("Series Instance UID", series_uid),
    ):
        if not uid:
            raise ObjectRefused(CANNOT_UNDERSTAND, f"{name} is missing or empty")
        if not identifiers.is_tolerable_uid(uid):
            raise ObjectRefused(CANNOT_UNDERSTAND, f"{name} is not a valid UID")
    if sop_class_uid != command.sop_class_uid or sop_class_uid != command.context_sop_class_uid:
        raise ObjectRefused(DOES_NOT_MATCH_SOP_CLASS, "SOP Class UID differs from that of the C-STORE request")
    if sop_instance_uid != command.sop_instance_uid:
        raise ObjectRefused(CANNOT_UNDERSTAND, "SOP Instance UID differs from that of the C-STORE request")
    return Instance(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid,
        series_instance_uid=series_uid,
        study_instance_uid=study_uid,
        transfer_syntax_uid=command.transfer_syntax_uid,
        sha256=hashlib.sha256(data).hexdigest(),
        path="",
        facts=read_facts(ds, has_pixel_data=header.has_pixel_data),
        calling_ae=command.calling_ae,
        called_ae=command.called_ae,
    )
