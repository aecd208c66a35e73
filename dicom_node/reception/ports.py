"""The listening sockets of reception: one for plain TCP, one for TLS. What comes in on the wrong one is told in the log."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import log
from dicom_node.core.errors import TlsFailure
from dicom_node.network.door import TlsDoor, speaks_tls


class DicomServer(ThreadedAssociationServer):  # type: ignore[misc]
    """One listening socket. Every answer leaves at once: Nagle's algorithm would hold a C-STORE-RSP back for a peer's late ACK."""

    request_queue_size = 64
    daemon_threads = True
    #: What shakes hands with callers; ``None``: plain TCP.
    door: TlsDoor | None = None
    #: Connections that are no associations yet: they have said nothing, or are in the handshake.
    waiting = 0
    _counting = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        """Give the connection a thread."""
        self._count(+1)
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:
        """Begin an association, in the connection's own thread: nobody waits for another caller's handshake."""
        try:
            connection = self._set_up(request, str(client_address[0]), int(self.server_address[1]))
        finally:
            self._count(-1)
        if connection is not None:
            super().process_request_thread(connection, client_address)

    def _set_up(self, request: socket.socket, address: str, port: int) -> socket.socket | None:
        """Return the connection that an association can use; ``None``: it came to nothing, which has been told."""
        if self.door is None:
            if speaks_tls(self._first_byte(request)):
                log.event(
                    "association.unreadable",
                    address=address,
                    port=port,
                    code="tls",
                    reason="the caller speaks TLS on the plain port",
                )
                self.turned_away(address, "the caller speaks TLS on the plain port")
                self.shutdown_request(request)
                return None
            return request
        try:
            return self.door.wrap(request, address, port)
        except TlsFailure as failure:  # told in the log, and the connection is closed
            self.turned_away(address, str(failure))
            return None

    def _count(self, change: int) -> None:
        with self._counting:
            self.waiting += change

    def turned_away(self, address: str, why: str) -> None:
        """A caller came to nothing before any association: for the diary."""

    def shutdown(self) -> None:
        """Stop serving and close the port; may be called twice."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def _first_byte(self, connection: socket.socket) -> bytes:
        """Return what the caller says first, without taking it; empty when that takes too long, which the library will notice."""
        before = connection.gettimeout()
        connection.settimeout(self.ae.acse_timeout)
        try:
            return connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return b""
        finally:
            with contextlib.suppress(OSError):
                connection.settimeout(before)
