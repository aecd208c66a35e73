"""What comes in over one connection: a window of bytes that is refilled from the socket, plain or TLS.

One buffer of 1 MiB is all that an association holds, and only while something is arriving; idle ones hold none.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Queue
from typing import Any

BUFFER_BYTES = 1 << 20
#: While waiting, this often somebody asks whether the association still wants to go on.
SLICE_SECONDS = 0.25
#: Slower than this over a whole timeout is not slow but stuck, or meant to hold the association.
MIN_BYTES_PER_SECOND = 128
_MAX_SPARE = 8

_spare: deque[bytearray] = deque(maxlen=_MAX_SPARE)


class Closed(Exception):
    """The peer closed the connection, or it broke."""


class Stalled(Exception):
    """A message was begun and does not go on."""


class Interrupted(Exception):
    """This side wants to end the association, and waits no longer for the peer."""


class Waker:
    """Something a waiting ``ByteStream`` notices at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        """Wake; after ``close`` there is nobody to wake."""
        with self._lock:
            if self.descriptor >= 0:
                os.eventfd_write(self.descriptor, 1)

    def clear(self) -> None:
        """Take back what was set."""
        with self._lock:
            if self.descriptor >= 0:
                with suppress(BlockingIOError):
                    os.eventfd_read(self.descriptor)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            if self.descriptor >= 0:
                os.close(self.descriptor)
            self.descriptor = -1


class TellingQueue(Queue[Any]):
    """A queue that tells somebody about everything put into it."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add and tell."""
        super().put(item, block, timeout)
        self._tell()


class ByteStream:
    """Bytes from a socket.

    Attributes
    ----------
    buffer, view
        The window's memory; between ``fill`` and ``fill`` slices of ``view`` stay valid.
    position, end
        What of it was not taken yet.
    timeout
        Seconds in which a message that was begun must go on.
    """

    def __init__(self, connection: socket.socket, waker: Waker, *, timeout: float, interrupted: Callable[[], bool]) -> None:
        """Take over the reading side of a connection.

        Parameters
        ----------
        interrupted
            Asked while waiting in the middle of a message.
        """
        self._socket = connection
        self._waker = waker
        self._interrupted = interrupted
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._wake_descriptor = waker.descriptor
        self._poll.register(self._wake_descriptor, select.POLLIN)
        self.timeout = timeout
        self._window_start = 0.0  # of the watch on a message's progress; 0: no message is under way
        self._window_bytes = 0
        self.buffer = bytearray()
        self.view = memoryview(self.buffer)
        self.position = self.end = 0
        connection.settimeout(timeout)  # a TLS record in parts, or a peer that takes no answer, must not hold a thread for ever

    @property
    def buffered(self) -> int:
        """Bytes that are here."""
        return self.end - self.position

    def wait(self, seconds: float) -> bool:
        """Wait until something can be read, at most so long, or until the waker is set; say whether there is something."""
        return bool(self.buffered) or self._readable(seconds)

    def _readable(self, seconds: float) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        ready = self._poll.poll(seconds * 1000)
        for descriptor, _ in ready:
            if descriptor == self._wake_descriptor:
                self._waker.clear()
        return any(descriptor != self._wake_descriptor for descriptor, _ in ready)

    def fill(self) -> None:
        """Read more, at least one byte; slices of ``view`` are no longer valid.

        Raises
        ------
        Closed, Stalled, Interrupted
        """
        if not self.buffer:
            self._take_buffer()
        if self.position:
            rest = self.buffered
            if rest:
                self.buffer[:rest] = self.buffer[self.position : self.end]
            self.position, self.end = 0, rest
        now = time.monotonic()
        if not self._window_start:
            self._window_start, self._window_bytes = now, 0
        if self._interrupted():
            raise Interrupted
        count = self._read_at_once()
        while count is None:
            if self._readable(SLICE_SECONDS):
                count = self._read_what_came()
                continue
            now = time.monotonic()
            self._watch(now)
            if self._interrupted():
                raise Interrupted
        if not count:
            raise Closed
        self.end += count
        self._window_bytes += count
        self._watch(now)

    def _read_at_once(self) -> int | None:
        """Read what is here already, with one call of the kernel instead of three; ``None``: nothing is, or it is encrypted."""
        if isinstance(self._socket, ssl.SSLSocket):
            return None
        try:
            return os.readv(self._socket.fileno(), [self.view[self.end :]])
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error

    def _read_what_came(self) -> int:
        try:
            return self._socket.recv_into(self.view[self.end :])
        except TimeoutError as error:
            raise Stalled from error
        except OSError as error:
            raise Closed from error

    def need(self, count: int) -> None:
        """Have at least so many bytes, which fit into the window."""
        while self.buffered < count:
            self.fill()

    def at_rest(self) -> None:
        """Say that no message is under way: the peer may take its time, and an empty window needs no memory."""
        self._window_start = 0.0
        if not self.buffered:
            self.position = self.end = 0
            self._give_buffer()

    def send(self, data: bytes) -> None:
        """Send at once.

        Raises
        ------
        Closed
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def _watch(self, now: float) -> None:
        passed = now - self._window_start
        if passed >= self.timeout:
            if self._window_bytes < passed * MIN_BYTES_PER_SECOND:
                raise Stalled
            self._window_start, self._window_bytes = now, 0

    def _take_buffer(self) -> None:
        try:
            self.buffer = _spare.pop()
        except IndexError:
            self.buffer = bytearray(BUFFER_BYTES)
        self.view = memoryview(self.buffer)

    def _give_buffer(self) -> None:
        if self.buffer:
            self.view.release()
            if len(_spare) < _MAX_SPARE:
                _spare.append(self.buffer)
            self.buffer = bytearray()
            self.view = memoryview(self.buffer)
