"""One received object: checked, written, recorded. Success is said after all three, and only then.

Every door that brings objects uses it: C-STORE, STOW-RS, what was fetched from an archive.
"""

from __future__ import annotations

import copy
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa

from dicom_node.core import identifiers
from dicom_node.core.errors import StudyError
from dicom_node.core.study import Instance
from dicom_node.imaging.header import Header, first_text, read_facts, read_header
from dicom_node.reception.group_commit import GroupCommit
from dicom_node.reception.object_file import ObjectFiles, file_meta
from dicom_node.reception.part_file import PartFile
from dicom_node.reception.status import CANNOT_UNDERSTAND, DOES_NOT_MATCH_SOP_CLASS, DimseStatus, ObjectRefused
from dicom_node.store import tables

DEFLATED = "1.2.840.10008.1.2.1.99"


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
    """Writes an instance's row, its study's deadline and story; called inside one transaction, perhaps twice.

    ``instance.path`` is the storage key. Returns whether the file is now referred to: of a repeated object the first file is kept.
    """

    def __call__(self, connection: sa.Connection, instance: Instance, *, size: int, received_utc: float) -> bool: ...


class Intake:
    """Takes objects into HOME/store and the database. Safe to call from many threads."""

    def __init__(self, home: Path, database: sa.Engine, record: Record, clock: Callable[[], float] = time.time) -> None:
        self._files = ObjectFiles(home.resolve() / "store")
        self._database = database
        self._rows = GroupCommit(database)
        self._record = record
        self._clock = clock
        self._admit: Callable[[Instance], None] | None = None
        self._under = ""

    def beside(self, record: Record, admit: Callable[[Instance], None], under: str) -> Intake:
        """Return an intake of objects that are no images: other rows, in another folder, with the same files and shared commits.

        ``admit`` is called before an object is kept, and raises ``ObjectRefused``.
        """
        other = copy.copy(self)
        other._record, other._admit, other._under = record, admit, under
        return other

    def receive(self, command: Command, data: bytes) -> bool:
        """Check, write and record one object that is in memory. As ``begin``, ``PartFile.write`` and ``take_file``."""
        part = self.begin(command)
        try:
            part.write([data])
        except BaseException:
            part.discard()
            raise
        return self.take_file(command, part)

    def begin(self, command: Command) -> PartFile:
        """Open a file for an object that is going to arrive; the caller writes the data set into it, without file meta.

        Raises
        ------
        ObjectRefused
            The command's UIDs are none (PS3.5, 9.1).
        OSError
            There is no room.
        """
        for name, uid in (("SOP Class UID", command.sop_class_uid), ("SOP Instance UID", command.sop_instance_uid)):
            if not identifiers.is_tolerable_uid(uid):
                raise ObjectRefused(CANNOT_UNDERSTAND, f"{name} is not a valid UID")
        return self._files.begin(
            file_meta(
                command.sop_class_uid,
                command.sop_instance_uid,
                command.transfer_syntax_uid,
                command.calling_ae,
                command.called_ae,
            )
        )

    def take_file(self, command: Command, part: PartFile) -> bool:
        """Check and record one object that is written; when this returns, it survives a power cut.

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
        try:
            part.begin_finish()
            instance = examined(command, part)
            if self._admit is not None:
                self._admit(instance)
            study_key = identifiers.study_key(instance.study_instance_uid)
        except BaseException:
            part.discard()
            raise
        key = self._files.keep(part, study_key, self._under)
        stored = replace(instance, path=key, digest=part.digest)
        received_utc = self._clock()
        kept = self._rows.write(
            # a node that starts just now may have adopted the file: then its row is there, and is no reason to remove it
            lambda connection: (
                self._record(connection, stored, size=part.size, received_utc=received_utc)
                or is_referred_to(connection, study_key, key)
            ),
            study_key,
            synced=self._admit is not None,  # of what came beside the images, the file does not tell which association brought it
        )
        if not kept:
            self._files.remove(key)
        return kept

    def close(self) -> None:
        """Give the database connection back; the intake can be used again all the same."""
        self._rows.close()

    def note_refusal(self, calling_ae: str, called_ae: str, status: DimseStatus, comment: str) -> None:
        """Keep a row of an object that was not taken.

        Raises
        ------
        SQLAlchemyError
            The database failed; the sender has its answer all the same.
        """
        row = {"at_utc": self._clock(), "calling_ae": calling_ae, "called_ae": called_ae, "status": status.code, "text": comment}
        self._rows.write(lambda connection: connection.execute(sa.insert(tables.refused_object).values(row)) and None)


def is_referred_to(connection: sa.Connection, study_key: str, key: str) -> bool:
    """Say whether a row of an image names this file."""
    c = tables.instance.c
    query = sa.select(c.instance_id).where(c.study_key == study_key, c.storage_key == key)
    return connection.execute(query.limit(1)).first() is not None


def examined(command: Command, part: PartFile) -> Instance:
    """Return what the data set is, if it is what the command says (PS3.4, B.2.2: SOP class and instance must be the same).

    ``path`` and ``digest`` are empty.

    Raises
    ------
    ObjectRefused
        The data set contradicts the command, or lacks a UID or has one that is none (PS3.5, 9.1).
    StudyError
        The header cannot be read.
    """
    if not part.data_size:
        raise ObjectRefused(CANNOT_UNDERSTAND, "The data set is empty")
    header = _header(part, command.transfer_syntax_uid)
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
        digest="",
        path="",
        facts=read_facts(ds, has_pixel_data=header.has_pixel_data),
        calling_ae=command.calling_ae,
        called_ae=command.called_ae,
    )


def _header(part: PartFile, transfer_syntax_uid: str) -> Header:
    """Read the header from the bytes in memory; only if it goes on behind them, from the file."""
    if part.data_size <= len(part.head):
        return read_header(bytes(part.head), transfer_syntax_uid)
    if transfer_syntax_uid != DEFLATED:
        try:
            header = read_header(bytes(part.head), transfer_syntax_uid)
        except StudyError:
            pass  # it may have been cut in the middle of an element
        else:
            if header.has_pixel_data:
                return header
    with open(part.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        content.seek(part.start)
        return read_header(content, transfer_syntax_uid)
