"""One STOW-RS request: its parts go to the disk as they come, and each is taken or refused as at the SCP."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable
from typing import NamedTuple

from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dicom_node.imaging.element_values import ODD, first_text
from dicom_node.imaging.encoded import FileMeta, read_file_meta, read_header
from dicom_node.network.multipart import MultipartReader, media_type_of
from dicom_node.reception.diary import Entry
from dicom_node.reception.intake import Command
from dicom_node.reception.presentation_contexts import TRANSFER_SYNTAXES
from dicom_node.reception.status import CANNOT_UNDERSTAND, DimseStatus, ObjectRefused
from dicom_node.reception.storing import ObjectArriving, Storing

DICOM = "application/dicom"
#: Failure Reasons of PS3.18, 10.5.3 that C-STORE has no use for.
NO_SUCH_CLASS = DimseStatus(0x0122, "Referenced SOP Class not supported", "PS3.18 10.5.3, PS3.7 C.5.7")
NO_SUCH_SYNTAX = DimseStatus(0xC122, "Referenced Transfer Syntax not supported", "PS3.18 10.5.3")
#: File meta information beyond this is none.
_MOST_META = 1 << 16
#: Where the file meta information names no object, it is read from this much of the data set, which begins with the UIDs.
_UNNAMED_HEAD = 4096
_SOP_INSTANCE_UID = 0x00080018


class Stored(NamedTuple):
    """What became of one part. ``status`` 0: stored."""

    sop_class_uid: str
    sop_instance_uid: str
    status: int


class Upload:
    """A request on its way. ``feed`` and ``finish`` block on disk and database; called by one thread after the other.

    Parameters
    ----------
    entry
        Who sends, to whom; counts what came.
    classes
        SOP classes that are taken.
    study_uid
        Objects of other studies are refused; empty: any study.
    """

    def __init__(self, boundary: str, storing: Storing, entry: Entry, classes: frozenset[str], study_uid: str) -> None:
        self.results: list[Stored] = []
        self.entry = entry
        self._storing, self._classes, self._study_uid = storing, classes, study_uid
        self._current: _Part | None = None
        self._reader = MultipartReader(boundary, self._begin)
        self.feed: Callable[[bytes], None] = self._reader.feed

    def finish(self) -> None:
        """Say that nothing more comes; raises ``BrokenMultipart`` when that is too early."""
        self._reader.finish()

    def discard(self) -> None:
        """Leave nothing of a part that was cut off."""
        if self._current is not None:
            self._current.discard()
            self._current = None

    def _begin(self, headers: dict[str, str]) -> _Part:
        self._current = _Part(self, media_type_of(headers.get("content-type", DICOM))[0])
        return self._current

    # --- for the parts ---------------------------------------------------------------------------------------------------

    def arriving(self, meta: FileMeta) -> ObjectArriving:
        """Begin to take an object of which the file meta information is here.

        Raises
        ------
        ObjectRefused
            It is of a kind that is not taken.
        """
        if meta.sop_class_uid not in self._classes:
            raise ObjectRefused(NO_SUCH_CLASS, "The SOP class is not accepted")
        if meta.transfer_syntax_uid not in TRANSFER_SYNTAXES:
            raise ObjectRefused(NO_SUCH_SYNTAX, "The transfer syntax is not accepted")
        return self._storing.begin(self._command(meta), self.entry)

    def check_study(self, arriving: ObjectArriving) -> None:
        """Raise ``ObjectRefused`` when an object is not of the study that the URL names."""
        if not self._study_uid or arriving.path is None:
            return
        with arriving.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            meta = read_file_meta(content[:_MOST_META])
            content.seek(meta.end)
            header = read_header(content, meta.transfer_syntax_uid).dataset  # bounded: few bytes may unpack to many
        if first_text(header, "StudyInstanceUID") != self._study_uid:
            raise ObjectRefused(CANNOT_UNDERSTAND, "The object is not of the study that the URL names")

    def refused(self, meta: FileMeta, error: Exception) -> None:
        """Note a part that is not taken."""
        self._current = None
        status, _ = self._storing.refuse(error, self._command(meta))
        self.entry.refused += 1
        self.results.append(Stored(meta.sop_class_uid, meta.sop_instance_uid, status.code))

    def ended(self, meta: FileMeta, status: int) -> None:
        """Note a part that came to its end."""
        self._current = None
        self.results.append(Stored(meta.sop_class_uid, meta.sop_instance_uid, status))

    def _command(self, meta: FileMeta) -> Command:
        entry = self.entry
        uids = (meta.sop_class_uid, meta.sop_instance_uid, meta.sop_class_uid)
        return Command(*uids, meta.transfer_syntax_uid, entry.calling_ae, entry.called_ae)


class _Part:
    """One part: a Part 10 file, whose data set goes to the disk as soon as its file meta information has come."""

    def __init__(self, upload: Upload, media_type: str) -> None:
        self._upload = upload
        self._head = bytearray()
        self._meta = FileMeta(0, "", "", "")
        self._arriving: ObjectArriving | None = None
        self._error: Exception | None = None
        if media_type != DICOM:
            self._error = ObjectRefused(CANNOT_UNDERSTAND, "The part is not application/dicom")

    def write(self, piece: bytes) -> None:
        if self._error is not None:
            return
        if self._arriving is not None:
            self._arriving.write([memoryview(piece)])
            return
        self._head += piece
        self._meta = read_file_meta(bytes(self._head[:_MOST_META]))
        named = self._meta.sop_class_uid and self._meta.sop_instance_uid
        if self._meta.end and self._meta.end + (8 if named else _UNNAMED_HEAD) <= len(self._head):
            self._start()
        elif len(self._head) >= _MOST_META:
            self._error = ObjectRefused(CANNOT_UNDERSTAND, "The part is not a DICOM file")

    def _start(self) -> None:
        if not self._meta.sop_class_uid or not self._meta.sop_instance_uid:  # against PS3.10, 7.1, but libraries write it so
            self._meta = _named(self._meta, bytes(self._head[self._meta.end :]))
        try:
            self._arriving = self._upload.arriving(self._meta)
        except ObjectRefused as error:
            self._error = error
            return
        self._arriving.write([memoryview(bytes(self._head))[self._meta.end :]])
        self._head.clear()

    def end(self) -> None:
        if self._arriving is None and self._error is None and self._meta.end:
            self._start()
        if self._arriving is None:
            self._upload.refused(self._meta, self._error or ObjectRefused(CANNOT_UNDERSTAND, "The part is not a DICOM file"))
            return
        try:
            self._upload.check_study(self._arriving)
        except Exception as error:  # the sender gets an answer whatever fails
            self._arriving.discard()
            self._upload.refused(self._meta, error)
            return
        status, _ = self._arriving.finish()
        self._upload.ended(self._meta, status)

    def discard(self) -> None:
        """The rest will not come."""
        if self._arriving is not None:
            self._arriving.discard()


def _named(meta: FileMeta, head: bytes) -> FileMeta:
    """Return the file meta information with the UIDs from the beginning of the data set; as it is where they cannot be read."""
    syntax = UID(meta.transfer_syntax_uid)
    try:
        dataset = read_dataset(
            io.BytesIO(head),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, size: tag > _SOP_INSTANCE_UID,
        )
    except (*ODD, OSError):
        return meta
    return meta._replace(sop_class_uid=first_text(dataset, "SOPClassUID"), sop_instance_uid=first_text(dataset, "SOPInstanceUID"))
