"""pynetdicom with its P-DATA taken over: it negotiates, releases, aborts and speaks every service but C-STORE.

This reaches into parts of pynetdicom that are not its public interface, so the version is pinned and asserted here; ``path: plain``
does without this module. What is replaced:

- the reading of PDUs: P-DATA goes through ``PDataReader``, everything else is handed to the library as bytes;
- the polling of both of its threads: they sleep until something happens.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any, Protocol

import pynetdicom
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT, A_P_ABORT, P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler

from dicom_node.reception.byte_stream import SLICE_SECONDS, ByteStream, Closed, Interrupted, Stalled, TellingQueue, Waker
from dicom_node.reception.p_data import Malformed, PDataReader, Receiving, StorageContext
from dicom_node.reception.wire import P_DATA_TF, StoreRequest, pdu_header

PINNED = "3.0.4"
if pynetdicom.__version__ != PINNED:
    raise ImportError(f"reception's fast path is written for pynetdicom {PINNED}, not {pynetdicom.__version__}: use path: plain")

#: A PDU that is not P-DATA is held in memory; 128 presentation contexts with all transfer syntaxes are a tenth of this.
MAX_CONTROL_PDU = 1 << 20
#: How long a peer may take to close the connection after the association's end.
CLOSE_SECONDS = 0.05
#: How long after an object the next one is waited for before the library looks after its timers.
NEXT_SECONDS = 0.02
#: How long what a peer still sends after an abort is read and thrown away, so that it gets to see the abort.
LINGER_SECONDS = 2.0


class Objects(Protocol):
    """What the fast path needs of the receiver."""

    def storage_contexts(self, association: Association) -> dict[int, StorageContext | None]:
        """Accepted presentation contexts by id; ``None`` for those under which no object is taken."""

    def begin_object(self, association: Association, request: StoreRequest, context: StorageContext) -> Receiving:
        """Begin an object."""

    def node_ends(self, association: Association, why: str) -> None:
        """Note why this side ends an association."""

    def association_over(self, association: Association) -> None:
        """The association's thread ends, whatever way it came to that."""


class StreamSocket(AssociationSocket):  # type: ignore[misc]
    """pynetdicom's socket, reading from a ``ByteStream``."""

    stream: ByteStream

    @property
    def ready(self) -> bool:
        """Whether there is something to read now."""
        return self.socket is not None and self._is_connected and self.stream.wait(0)

    def recv(self, nr_bytes: int) -> bytearray:
        """Return so many bytes; raises ``OSError`` when they do not come."""
        stream, taken = self.stream, bytearray()
        try:
            while len(taken) < nr_bytes:
                if not stream.buffered:
                    stream.fill()
                count = min(nr_bytes - len(taken), stream.buffered)
                taken += stream.view[stream.position : stream.position + count]
                stream.position += count
        except (Closed, Stalled, Interrupted) as error:
            raise OSError("the rest of a PDU did not come") from error
        return taken


class FastDul(DULServiceProvider):  # type: ignore[misc]
    """The upper layer, waiting instead of polling, with P-DATA read in place."""

    def __init__(self, association: FastAssociation, waker: Waker) -> None:
        super().__init__(association)
        self.daemon = True
        self._run_loop_delay = 0
        self._waker = waker
        self.to_provider_queue = TellingQueue(waker.set)
        self.to_user_queue = TellingQueue(association.news.set)
        self._reader: PDataReader | None = None
        self._linger_until = 0.0
        self._reading = False

    def kill_dul(self) -> None:
        """End the thread soon, and let nobody wait for what it would have brought."""
        super().kill_dul()
        self._waker.set()
        self.to_user_queue.put(None)

    def stop_dul(self) -> bool:
        """End the thread if the association is over; say whether it ended."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join(timeout=1.0)
        return not self.is_alive()

    def wants_to_end(self) -> bool:
        """Whether this side has an abort to send, or stops altogether."""
        if self._kill_thread or self._assoc._kill:
            return True
        return any(isinstance(primitive, (A_ABORT, A_P_ABORT)) for primitive in list(self.to_provider_queue.queue))

    def idle_timer_expired(self) -> bool:
        """Say whether nothing came for too long; a message under way, however long it takes, is no idleness."""
        return not self._reading and bool(super().idle_timer_expired())

    def _is_transport_event(self) -> bool:
        self._reading = False  # only now: the library has started the idle timer anew
        connection = self.socket
        if connection is None or connection.socket is None:
            time.sleep(0.001)
            return False
        if self.state_machine.current_state == "Sta13":
            return self._linger(connection)
        if not connection.stream.wait(0 if self.event_queue.queue else SLICE_SECONDS):
            return False
        self._reading = True
        self._read_pdu_data()
        return True

    def _linger(self, connection: StreamSocket) -> bool:
        """The association is over: throw away what still comes, for a while, then close."""
        now = time.monotonic()
        self._linger_until = self._linger_until or now + LINGER_SECONDS
        stream = connection.stream
        stream.position = stream.end
        try:
            if now < self._linger_until and stream.wait(CLOSE_SECONDS):
                stream.fill()
                return True
        except (Closed, Stalled, Interrupted):
            pass
        stream.position = stream.end
        stream.at_rest()
        connection.close()
        return True

    def _read_pdu_data(self) -> None:
        stream, association = self.socket.stream, self._assoc
        established = self.state_machine.current_state == "Sta6"
        stream.timeout = association.dimse_timeout if established else association.acse_timeout
        try:
            stream.need(6)
            kind, length = pdu_header.unpack_from(stream.buffer, stream.position)
            if kind == P_DATA_TF and established:
                self._p_data(stream)
            elif length > MAX_CONTROL_PDU:
                raise Malformed("a PDU longer than any that is allowed")
            else:
                super()._read_pdu_data()
        except Interrupted:
            pass  # what interrupted stands in a queue and comes next
        except Closed:
            self.event_queue.put("Evt17")  # transport connection closed
        except Stalled:
            self._give_up("a message did not go on")
        except Malformed as error:
            self._give_up(str(error))
        else:
            if self._reader is None or self._reader.at_rest:
                stream.at_rest()

    def _give_up(self, why: str) -> None:
        self._assoc.objects.node_ends(self._assoc, why)
        self.event_queue.put("Evt19")  # invalid PDU: the state machine sends the abort

    def _p_data(self, stream: ByteStream) -> None:
        association = self._assoc
        if self._reader is None:
            self._reader = PDataReader(
                stream, association.objects.storage_contexts(association), association.begin_object, self._forward
            )
        self._reader.read()
        # objects of a series follow each other at once: the library's loop between them costs a quarter of a millisecond
        while self._reader.at_rest and not stream.buffered and self.to_provider_queue.empty() and not self.wants_to_end():
            if not stream.wait(NEXT_SECONDS):
                break
            self._reader.read()

    def _forward(self, context_id: int, control: int, fragment: bytes) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[context_id, bytes((control,)) + fragment]]
        try:
            self._assoc.dimse.receive_primitive(primitive)
        except Exception as error:  # whatever the library stumbles over in a stranger's bytes
            raise Malformed(f"a message that cannot be read ({type(error).__name__})") from error


class _Messages(DIMSEServiceProvider):  # type: ignore[misc]
    """pynetdicom's messages; the association's thread, which asks for the next one in a loop, sleeps here until there is news."""

    def __init__(self, association: FastAssociation) -> None:
        super().__init__(association)
        self._news = association.news
        self.msg_queue = TellingQueue(association.news.set)

    def get_msg(self, block: bool = False) -> Any:
        if not block:
            self._news.wait(SLICE_SECONDS)
            self._news.clear()
        return super().get_msg(block)


class FastAssociation(Association):  # type: ignore[misc]
    """An association accepted by this node."""

    def __init__(self, ae: Any, mode: str, objects: Objects) -> None:
        self.news = threading.Event()
        self.objects = objects
        self.waker = Waker()
        super().__init__(ae, mode)
        self.dul = FastDul(self, self.waker)
        self.dimse = _Messages(self)
        self.acse_timeout = ae.acse_timeout  # again: these setters reach into the DUL, which is another one now
        self.network_timeout = ae.network_timeout

    def begin_object(self, request: StoreRequest, context: StorageContext) -> Receiving:
        """Begin an object of this association."""
        return self.objects.begin_object(self, request, context)

    def run_reactor(self) -> None:
        """Serve the association until it is over."""
        try:
            super().run_reactor()
        finally:
            self.dul.kill_dul()
            self.dul.join(timeout=1.0)
            self.waker.close()
            self.objects.association_over(self)


class FastHandler(RequestHandler):  # type: ignore[misc]
    """Makes associations of the fast path, as the library makes its own."""

    def _create_association(self) -> FastAssociation:
        server = self.server
        association = FastAssociation(self.ae, MODE_ACCEPTOR, server.objects)
        association._server = server
        association.name = f"AcceptorThread@{datetime.now():%Y%m%d%H%M%S}"  # the library finds its associations by this name
        self._give_socket(association)
        acceptor = association.acceptor
        acceptor.maximum_length = self.ae.maximum_pdu_size
        acceptor.ae_title = server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = self.ae.implementation_class_uid
        acceptor.implementation_version_name = self.ae.implementation_version_name
        acceptor.supported_contexts = server.contexts  # read only: negotiation makes contexts of its own
        association.requestor.address_info = self.remote
        for event, bound in server._handlers.items():
            if event.is_intervention:
                if bound:
                    association.bind(event, *bound)
            else:
                for handler in bound:
                    association.bind(event, *handler)
        return association

    def _give_socket(self, association: FastAssociation) -> None:
        wrapped = StreamSocket(association, client_socket=self.request)
        wrapped.stream = ByteStream(
            self.request, association.waker, timeout=association.acse_timeout, interrupted=association.dul.wants_to_end
        )
        association.set_socket(wrapped)
