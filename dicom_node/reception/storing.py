"""One C-STORE from its command to its answer. Whatever fails on the way, there is an answer, and nothing half is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from dicom_node import log
from dicom_node.reception.diary import Entry
from dicom_node.reception.intake import Command, Intake
from dicom_node.reception.p_data import Malformed
from dicom_node.reception.part_file import PartFile
from dicom_node.reception.status import CANNOT_UNDERSTAND, SUCCESS, DimseStatus, ObjectRefused, answer_to

#: Says why nothing may be stored now, or ``None``; asked before every object.
AdmitStorage = Callable[[], DimseStatus | None]


def always() -> DimseStatus | None:
    """Nothing speaks against storing."""
    return None


class Storing:
    """How objects are taken, the same for all associations."""

    def __init__(self, intake: Intake, *, max_object_bytes: int, admit_storage: AdmitStorage = always) -> None:
        self.intake = intake
        self.max_object_bytes = max_object_bytes
        self._admit_storage = admit_storage

    def at(self, intake: Intake) -> Storing:
        """Return the same for objects that go elsewhere."""
        return Storing(intake, max_object_bytes=self.max_object_bytes, admit_storage=self._admit_storage)

    def begin(self, command: Command, entry: Entry) -> ObjectArriving:
        """Begin an object whose bytes are to come."""
        return ObjectArriving(self, command, entry)

    def receive(self, command: Command, data: bytes, entry: Entry) -> tuple[DimseStatus, str]:
        """Take an object that is in memory; return the answer."""
        arriving = self.begin(command, entry)
        arriving.write([memoryview(data)])
        return arriving.end()

    def admit(self) -> None:
        """Raise ``ObjectRefused`` while nothing may be stored."""
        status = self._admit_storage()
        if status is not None:
            raise ObjectRefused(status, status.meaning)

    def refuse(self, error: Exception, command: Command) -> tuple[DimseStatus, str]:
        """Return the answer to an object that is not taken, and leave a line and a row of it."""
        status, comment = answer_to(error)
        log.event(
            "object.refused",
            calling_ae=command.calling_ae,
            called_ae=command.called_ae,
            status=f"0x{status.code:04X}",
            reason=comment,
            error=type(error).__name__,
        )
        try:
            self.intake.note_refusal(command.calling_ae, command.called_ae, status, comment)
        except sa.exc.SQLAlchemyError as second:
            log.event("refusal.not_recorded", error=type(second).__name__)
        return status, comment


class ObjectArriving:
    """One object on its way. An object that is refused is read to its end and thrown away: the association lives on."""

    def __init__(self, storing: Storing, command: Command, entry: Entry) -> None:
        self._storing = storing
        self._command = command
        self._entry = entry
        self._began = time.monotonic()
        self._size = 0
        self._part: PartFile | None = None
        self._error: Exception | None = None
        try:
            storing.admit()
            self._part = storing.intake.begin(command)
        except Exception as error:  # the sender gets an answer whatever fails
            self._error = error

    @property
    def path(self) -> Path | None:
        """Where the bytes lie until they are kept; ``None`` once the object is refused."""
        return self._part.path if self._part is not None else None

    def write(self, slices: list[memoryview]) -> None:
        """Take bytes of the data set; raises ``Malformed`` when there is no end of them."""
        self._size += sum(map(len, slices))
        limit = self._storing.max_object_bytes
        if self._size > limit:
            self._fail(ObjectRefused(CANNOT_UNDERSTAND, "The object is larger than this node takes"))
            if self._size > 2 * limit:
                raise Malformed("an object without end")
        if self._part is None:
            return
        try:
            self._part.write(slices)
        except Exception as error:  # a full disk, above all
            self._fail(error)

    def finish(self) -> tuple[int, str]:
        """Keep the object; return status and Error Comment."""
        status, comment = self.end()
        return status.code, comment

    def end(self) -> tuple[DimseStatus, str]:
        """Keep the object; return the answer."""
        if self._part is not None:
            try:
                self._storing.intake.take_file(self._command, self._part)
            except Exception as error:  # the sender gets an answer whatever fails
                self._error = error
        if self._error is not None:
            answer = self._storing.refuse(self._error, self._command)
            self._entry.answered(self._began, None)
            return answer
        self._entry.answered(self._began, self._size)
        return SUCCESS, ""

    def discard(self) -> None:
        """The rest will not come: leave nothing behind."""
        if self._part is not None:
            self._part.discard()
            self._part = None

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self.discard()
