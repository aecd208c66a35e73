"""pynetdicom's association requestor, with an end to each of its waits.

The library bounds single reads, and waits without end for its own upper layer, which a peer can hold for ever: with a PDU that
comes byte by byte, or by taking nothing, since an abort stands in line behind every PDU that was to be sent. Here a PDU has one
timeout to come or to go, the answer's time begins when the question has left, nobody waits for answers on an association that is
older than ``MOST_SECONDS``, and whoever ends one cuts the connection if the peer does not let go of it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket

from dicom_node import log
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

#: A peer that keeps to the length which we ask for sends PDUs of 16 kB. What claims more than this, and twice what we ask, is none.
MOST_PDU_BYTES = 1 << 20
#: However slowly a peer takes a message: then the association ends. A large segmentation needs a minute where there are 2 Mbit/s.
MOST_SENDING_SECONDS = 600.0
#: However long a peer goes on answering, or sends the objects that it was asked for: then the association ends, and who asked asks
#: again for what is missing.
MOST_SECONDS = 3600.0
#: What an abort has to get out; then the connection is cut.
_ABORT_SECONDS = 1.0
#: A thread of the library that does not end even then is left behind.
_END_SECONDS = 5.0
_PIECE = 1 << 16


class Requestor(AE):  # type: ignore[misc]
    """An AE that opens one association.

    Parameters
    ----------
    timeout_seconds
        Longest wait for the connection, for the answer to the request, for each DIMSE answer, for a silent peer, and for a PDU that
        was begun, either way.
    """

    #: The association, also while it is being negotiated.
    association: Association | None = None

    def __init__(self, ae_title: str, timeout_seconds: float) -> None:
        super().__init__(ae_title=ae_title)
        self.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        self.connection_timeout = self.acse_timeout = self.dimse_timeout = self.network_timeout = timeout_seconds

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> AssociationSocket:
        """Called by the library once the association is made, and before anything happens on it."""
        self.association = assoc
        assoc.dul.daemon = True  # one that is left behind must not keep the process from ending
        assoc.dimse = _Messages(assoc)
        assoc._reactor_checkpoint = Checkpoint(assoc)
        assoc.kill = partial(end, assoc)
        made = PduSocket(assoc, address=address)
        made.tls_args = tls_args
        return made


def end(association: Association) -> None:
    """End the association's threads; stands in for the library's ``Association.kill``."""
    association._reactor_checkpoint.set()
    association._kill = True
    association.is_established = False
    association._is_paused = True
    began = time.monotonic()
    was_cut = False
    while association.dul.is_alive():
        if association.dul.state_machine.current_state == "Sta1":
            association.dul.kill_dul()
        passed = time.monotonic() - began
        if passed > _ABORT_SECONDS and not was_cut:
            cut(association)
            was_cut = True
        if passed > _END_SECONDS:
            log.event("association.left_behind", seconds=round(passed, 1))
            return
        association.dul.join(0.002)
    cut(association)  # a thread that stumbled has left it open


def cut(association: Association) -> None:
    """Shut the connection down: whoever reads, writes or waits for an answer on it comes back at once."""
    connection = association.dul.socket.socket if association.dul.socket is not None else None
    if connection is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)  # below TLS, which another thread may be using


class Checkpoint:
    """Where the library's reactor waits while its caller sends and waits for the answer; stands in for an ``Event``.

    Two messages in quick succession open an ``Event`` and close it again. A reactor that wakes late from that goes on although it
    is closed, while its caller takes it to be paused; the answer that has come by then it takes and throws away, and the caller
    waits for it until its timeout (one object in two thousand on a machine under load).
    """

    def __init__(self, association: Any) -> None:
        self._association = association
        self._changed = threading.Condition()
        self._is_set = True

    def is_set(self) -> bool:
        """Whether the reactor may go on."""
        return self._is_set

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Have it wait when it comes here."""
        with self._changed:
            self._is_set = False

    def wait(self) -> None:
        """Wait until it may go on; from then on the association is not paused, before anyone can close this again."""
        with self._changed:
            while not self._is_set:
                self._changed.wait()
            self._association._is_paused = False


class PduSocket(AssociationSocket):  # type: ignore[misc]
    """The library's socket; each piece of a PDU has one DIMSE timeout to come or to go, however often a byte moves."""

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes, fewer when the peer closed the connection; raises ``OSError`` when they do not come in time."""
        ours = self.assoc.requestor if self.assoc.is_requestor else self.assoc.acceptor
        if nr_bytes > max(MOST_PDU_BYTES, 2 * ours.maximum_length):
            raise OSError("a PDU longer than any that is allowed")
        until = time.monotonic() + self.assoc.dimse_timeout
        taken = bytearray()
        while len(taken) < nr_bytes:
            self._allow(until)
            piece = self.socket.recv(min(nr_bytes - len(taken), _PIECE))
            if not piece:
                break
            taken += piece
        return taken

    def send(self, bytestream: bytes) -> None:
        """Send a PDU; one that does not leave in time ends the association."""
        until = time.monotonic() + self.assoc.dimse_timeout
        left = memoryview(bytestream)
        try:
            while left:
                self._allow(until)
                left = left[self.socket.send(left) :]
            evt.trigger(self.assoc, evt.EVT_DATA_SENT, {"data": bytestream})
        except Exception:  # as the library has it: whatever is wrong with the connection, it is over
            self.event_queue.put("Evt17")  # transport connection closed

    def _allow(self, until: float) -> None:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self.socket.settimeout(seconds)


class _Messages(DIMSEServiceProvider):  # type: ignore[misc]
    """The library's messages; the time that a peer has for its answer begins when our message has left."""

    def __init__(self, association: Association) -> None:
        super().__init__(association)
        self._last = time.monotonic() + MOST_SECONDS

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; see the library."""
        if not block:
            return super().get_msg(False)
        until = min(time.monotonic() + MOST_SENDING_SECONDS, self._last)
        while self.dul.to_provider_queue.queue and self.dul.is_alive() and time.monotonic() < until:
            time.sleep(0.001)
        return (None, None) if time.monotonic() > self._last else super().get_msg(True)
