"""An object while it is being received: bytes go to a ``.part`` file and into the digest; only the first stay in memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dicom_node.core.digest import Digest

#: What is kept in memory to read the header from; a longer header is read from the file.
HEAD_BYTES = 64 * 1024
#: Pages of larger objects are handed to the disk while more arrive, so that the sync at the end has little left to do.
WRITE_BACK_BYTES = 4 << 20
_MAX_SLICES = 1000  # IOV_MAX is 1024
_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class PartFile:
    """A file that is not an object yet. Written by one thread; ``finish`` or ``discard`` ends it.

    Attributes
    ----------
    size
        Bytes in the file: ``preamble`` and data set.
    data_size
        Bytes of the data set.
    head
        The first bytes of the data set, at most ``HEAD_BYTES``.
    start
        Where the data set begins in the file.
    """

    def __init__(self, path: Path, preamble: bytes) -> None:
        """Make the file.

        Parameters
        ----------
        preamble
            Preamble, prefix and file meta information; not part of the digest.

        Raises
        ------
        OSError
            The file cannot be made, or is there already.
        """
        self.path = path
        self.head = bytearray()
        self.start = self.size = len(preamble)
        self._digest = Digest()
        self._unwritten = preamble  # goes with the first bytes of the data set
        self._handed_over = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)

    @property
    def data_size(self) -> int:
        """Bytes of the data set."""
        return self.size - self.start

    @property
    def digest(self) -> str:
        """Digest of the data set (``core.digest``)."""
        return self._digest.text

    def write(self, slices: Sequence[bytes | memoryview]) -> None:
        """Append to the data set; the slices may be reused afterwards.

        Raises
        ------
        OSError
            The disk does not take it.
        """
        for piece in slices:
            if len(self.head) < HEAD_BYTES:
                self.head += piece[: HEAD_BYTES - len(self.head)]
            self._digest.update(piece)
        self.size += sum(map(len, slices))
        self._write(slices)
        if self.size - self._handed_over >= WRITE_BACK_BYTES:
            self._write_back()

    def finish(self) -> None:
        """Bring the bytes to the disk.

        Raises
        ------
        OSError
            The disk did not take it; the caller discards the file.
        """
        os.fdatasync(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def begin_finish(self) -> None:
        """Let the disk begin with what is left, while the caller does something else before ``finish``; raises ``OSError``."""
        self._write([])
        self._write_back()

    def discard(self) -> None:
        """Leave nothing behind. May be called at any time, also twice, also after ``finish``."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with suppress(OSError):
            self.path.unlink()

    def _write(self, slices: Sequence[bytes | memoryview]) -> None:
        if self._unwritten:
            slices, self._unwritten = [self._unwritten, *slices], b""
        _write_all(self._descriptor, slices)

    def _write_back(self) -> None:
        """A hint to the kernel: what comes of it shows in ``finish``."""
        _libc.sync_file_range(self._descriptor, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))
        self._handed_over = self.size


def _write_all(descriptor: int, slices: Sequence[bytes | memoryview]) -> None:
    """Write slices one behind the other, also when the kernel takes them in parts."""
    for first in range(0, len(slices), _MAX_SLICES):
        group = slices[first : first + _MAX_SLICES]
        written, wanted = os.writev(descriptor, group), sum(map(len, group))
        if written < wanted:
            rest = memoryview(b"".join(group))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
