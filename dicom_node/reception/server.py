"""The listening socket with reception's limits."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from dicom_node import log
from dicom_node.reception.ports import DicomServer


class Server(DicomServer):
    """Set ``on_turned_away``, ``message_seconds``, ``max_connections`` and, for the fast path, ``objects`` before serving."""

    request_queue_size = 128
    block_on_close = False

    objects: Any  # fast_path.Objects
    on_turned_away: Callable[[str, str], None]
    message_seconds: float
    max_connections: int

    def verify_request(self, request: socket.socket, client_address: Any) -> bool:
        """Say whether there is room for one more connection: a flood of them must not take all threads."""
        if len(self.active_associations) + self.waiting < self.max_connections:
            return True
        log.event("connection.refused", address=str(client_address[0]), reason="too many connections")
        return False

    def finish_request(self, request: socket.socket, client_address: Any) -> None:
        """Begin an association on a connection that is set up."""
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a sender that was switched off is noticed at last
        request.settimeout(self.message_seconds)
        super().finish_request(request, client_address)

    def turned_away(self, address: str, why: str) -> None:
        """A caller came to nothing before any association."""
        self.on_turned_away(address, why)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a connection that came to nothing; the library would print a traceback."""
        log.event("connection.failed", address=str(client_address[0]))
