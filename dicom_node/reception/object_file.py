"""An object onto the disk so that a power cut leaves all of it or nothing: write, fdatasync, rename, fsync of the folder."""

from __future__ import annotations

import io
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str) -> bytes:
    """Return preamble, prefix and file meta information of a Part 10 file (PS3.10, 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = calling_ae
    stream = io.BytesIO()
    stream.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(stream, meta, enforce_standard=True)
    return stream.getvalue()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ObjectFiles:
    """The files below HOME/store. Their names are drawn here and never come from the sender."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._durable: set[Path] = set()  # folders known to survive a power cut

    def write(self, study_key: str, *parts: bytes) -> tuple[str, int]:
        """Write one object; when this returns, it survives a power cut.

        Returns
        -------
        tuple
            The storage key (path below the root) and the number of bytes.

        Raises
        ------
        OSError
            Nothing of the object is visible then.
        """
        key = f"{study_key[-2:]}/{study_key}/{uuid.uuid4().hex}.dcm"
        final = self.root / key
        unfinished = final.with_suffix(".part")
        self._make_folder(final.parent)
        try:
            with open(unfinished, "xb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fdatasync(file.fileno())
            os.rename(unfinished, final)
            _sync_folder(final.parent)
        except OSError:
            self._forget_folder(final.parent)
            for path in (unfinished, final):
                with suppress(OSError):
                    path.unlink()
            raise
        return key, sum(len(part) for part in parts)

    def remove(self, key: str) -> None:
        """Remove a file that has no row; one that cannot be removed is left to the clean-up at start."""
        with suppress(OSError):
            (self.root / key).unlink()

    def _make_folder(self, folder: Path) -> None:
        with self._lock:
            if folder in self._durable and folder.is_dir():
                return
            missing = [folder, *folder.parents]
            missing = missing[: missing.index(self.root) + 1]
            for level in reversed(missing):
                level.mkdir(exist_ok=True)
                _sync_folder(level.parent)
            self._durable.add(folder)

    def _forget_folder(self, folder: Path) -> None:
        with self._lock:
            self._durable.discard(folder)
