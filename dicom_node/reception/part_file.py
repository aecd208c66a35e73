"""An object while it is being received: bytes go to a ``.part`` file and through the hash; only the first stay in memory."""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

#: What is kept in memory to read the header from; a longer header is read from the file.
HEAD_BYTES = 256 * 1024
#: A larger object is hashed by a second thread, which reads behind the writer: hashing takes longer than receiving.
HASH_APART_BYTES = 64 * 1024
_HASH_BUFFER = 1 << 20
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
            Preamble, prefix and file meta information; not part of the hash.

        Raises
        ------
        OSError
            The file cannot be made, or is there already.
        """
        self.path = path
        self.head = bytearray()
        self.start = self.size = self._hashed = len(preamble)
        self._sha256 = hashlib.sha256()
        self._apart: _HashApart | None = None
        self._handed_over = 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            _write_all(self._descriptor, [preamble])
        except OSError:
            self.discard()
            raise

    @property
    def data_size(self) -> int:
        """Bytes of the data set."""
        return self.size - self.start

    @property
    def sha256(self) -> str:
        """Hash of the data set; only after ``finish``."""
        return self._sha256.hexdigest()

    def write(self, slices: Sequence[bytes | memoryview]) -> None:
        """Append to the data set; the slices may be reused afterwards.

        Raises
        ------
        OSError
            The disk does not take it.
        """
        for piece in slices:
            if len(self.head) >= HEAD_BYTES:
                break
            self.head += piece[: HEAD_BYTES - len(self.head)]
        self.size += _write_all(self._descriptor, slices)
        if self._apart is None and self.data_size >= HASH_APART_BYTES:
            self._apart = _HashApart(self.path, self._sha256, self._hashed)
        if self._apart is not None:
            self._apart.reach(self.size)
        else:
            for piece in slices:
                self._sha256.update(piece)
            self._hashed = self.size
        if self.size - self._handed_over >= WRITE_BACK_BYTES:
            self._write_back()

    def finish(self) -> None:
        """Bring the bytes to the disk and the hash to its end.

        Raises
        ------
        OSError
            The disk did not take it; the caller discards the file.
        """
        os.fdatasync(self._descriptor)
        if self._apart is not None:
            apart, self._apart = self._apart, None
            apart.end()
        os.close(self._descriptor)
        self._descriptor = -1

    def begin_finish(self) -> None:
        """Let the disk and the hash begin with what is left, while the caller does something else before ``finish``."""
        if self._apart is not None:
            self._apart.go_on()
        self._write_back()

    def discard(self) -> None:
        """Leave nothing behind. May be called at any time, also twice, also after ``finish``."""
        if self._apart is not None:
            apart, self._apart = self._apart, None
            with suppress(OSError):
                apart.end()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        with suppress(OSError):
            self.path.unlink()

    def _write_back(self) -> None:
        """A hint to the kernel: what comes of it shows in ``finish``."""
        _libc.sync_file_range(self._descriptor, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))
        self._handed_over = self.size


class _HashApart:
    """Goes on with a hash in another thread, reading from the page cache what the writer has written."""

    def __init__(self, path: Path, running: hashlib._Hash, position: int) -> None:
        self._hash, self._position, self._reached = running, position, position
        self._woken = position
        self._ending = False
        self._more = threading.Event()
        self._descriptor = os.open(path, os.O_RDONLY)
        self._error: BaseException | None = None
        self._done = threading.Event()
        _hashers.submit(self._run)

    def reach(self, position: int) -> None:
        """Say how far the file is written."""
        self._reached = position
        if position - self._woken >= _HASH_BUFFER:  # waking costs more than it brings for less
            self.go_on()

    def go_on(self) -> None:
        """Hash all that is written."""
        self._woken = self._reached
        self._more.set()

    def end(self) -> None:
        """Wait for the rest; raises ``OSError`` if the file could not be read."""
        self._ending = True
        self._more.set()
        self._done.wait()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            buffer = _spare_buffers.pop()
        except IndexError:
            buffer = bytearray(_HASH_BUFFER)
        view = memoryview(buffer)
        try:
            while True:
                self._more.clear()
                ending = self._ending
                while self._position < self._reached:
                    count = os.preadv(self._descriptor, [view[: self._reached - self._position]], self._position)
                    if not count:
                        raise OSError("a file that is being received became shorter")
                    self._hash.update(view[:count])
                    self._position += count
                if ending:
                    return
                self._more.wait()
        except BaseException as error:  # raised again where the hash is asked for
            self._error = error
        finally:
            os.close(self._descriptor)
            _spare_buffers.append(buffer)
            self._done.set()


class _Hashers:
    """Threads that are kept and used again, one for each object that is arriving; they keep no process from ending."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle = 0
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def submit(self, work: Callable[[], None]) -> None:
        """Have this done at once."""
        with self._lock:
            start, self._idle = self._idle == 0, max(0, self._idle - 1)
        self._work.put(work)
        if start:
            threading.Thread(target=self._run, name="object-hash", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()
            with self._lock:
                self._idle += 1


_hashers = _Hashers()
_spare_buffers: deque[bytearray] = deque(maxlen=4)


def _write_all(descriptor: int, slices: Sequence[bytes | memoryview]) -> int:
    """Write slices one behind the other, also when the kernel takes them in parts; return how many bytes."""
    total = 0
    for first in range(0, len(slices), _MAX_SLICES):
        group = slices[first : first + _MAX_SLICES]
        wanted = sum(map(len, group))
        written = os.writev(descriptor, group)
        if written < wanted:
            rest = memoryview(b"".join(group))[written:]
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        total += wanted
    return total
