"""An object onto the disk so that it survives a power cut once ``keep`` returns: write, rename, fdatasync and fsync of the folder.

The file has its name a moment before all of it is on the disk: name and bytes are then flushed together. Until the row is written,
which is after that, nobody takes it for an object; what a power cut leaves in between is moved aside at the next start.
"""

from __future__ import annotations

import os
import struct
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.reception.folder_sync import Folder, OpenFolders, Sync
from dicom_node.reception.part_file import PartFile

#: Folders remembered as durable; forgetting them costs no more than a sync.
_MAX_REMEMBERED = 10_000
#: Where unfinished objects lie, below the store: their study is known only when their header is here.
INCOMING = "incoming"


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling_ae: str, called_ae: str = "") -> bytes:
    """Return preamble, prefix and file meta information of a Part 10 file (PS3.10, 7.1).

    Who sent it, and to whom, stands in it (0002,0016 and 0002,0018), so that a file alone tells all that its row needs.
    """
    body = b"".join(
        (
            struct.pack("<HH2sxxI2s", 0x0002, 0x0001, b"OB", 2, b"\0\1"),
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", calling_ae),
            *((_element(0x0018, b"AE", called_ae),) if called_ae else ()),
        )
    )
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body)) + body


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def name_of(digest: str) -> str:
    """Return the part of a file's name that tells whether all of it is there: the first 128 bits of its data set's digest."""
    return digest.partition(":")[2][:32]


class ObjectFiles:
    """The files below HOME/store. Their names are drawn here and never come from the sender."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._durable: set[Path] = set()  # folders known to survive a power cut
        self._open = OpenFolders()
        self._incoming = root / INCOMING

    def begin(self, preamble: bytes) -> PartFile:
        """Open a file for an object that is arriving.

        Raises
        ------
        OSError
            There is no room for it, or no right; nothing is left of it.
        """
        path = self._incoming / f"{uuid.uuid4().hex}.part"
        try:
            return PartFile(path, preamble)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return PartFile(path, preamble)

    def keep(self, part: PartFile, study_key: str, under: str = "") -> str:
        """Make a received file an object of a study; when this returns, it survives a power cut.

        Parameters
        ----------
        under
            Folder below the root, for what is no image; empty: none.

        Returns
        -------
        str
            The storage key: the path below the root.

        Raises
        ------
        OSError
            Nothing of the object is visible then.
        """
        key = "/".join((*([under] if under else ()), study_key[-2:], study_key, f"{part.path.stem}-{name_of(part.digest)}.dcm"))
        final = self.root / key
        try:
            folder = self._folder(final.parent)
            os.rename(part.path, final)
            names = Sync(folder.sync)
            try:
                part.finish()
            finally:
                names.wait()
        except OSError:
            self._forget_folder(final.parent)
            part.discard()
            with suppress(OSError):
                final.unlink()
            raise
        return key

    def remove(self, key: str) -> None:
        """Remove a file that has no row; one that cannot be removed is left to the clean-up at start."""
        with suppress(OSError):
            (self.root / key).unlink()

    def _folder(self, path: Path) -> Folder:
        folder = self._open.get(path)
        if folder is None:
            self._make_folder(path)
            folder = self._open.add(path)
        return folder

    def _make_folder(self, folder: Path) -> None:
        with self._lock:
            if folder in self._durable and folder.is_dir():
                return
            if len(self._durable) >= _MAX_REMEMBERED:
                self._durable.clear()
            missing = [folder, *folder.parents]
            missing = missing[: missing.index(self.root) + 1]
            for level in reversed(missing):
                if level in self._durable and level.is_dir():
                    continue
                level.mkdir(exist_ok=True)
                Folder(level.parent).sync()
                if level != folder:
                    self._durable.add(level)
            self._durable.add(folder)

    def _forget_folder(self, folder: Path) -> None:
        self._open.forget(folder)
        with self._lock:
            self._durable.difference_update((folder, *folder.parents))
