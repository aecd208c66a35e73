"""A TLS door: a connection that came in becomes an encrypted one, or is closed and the log says why.

Call it in the connection's own thread: a caller who never finishes the handshake then keeps nobody else waiting.
"""

from __future__ import annotations

import socket
import ssl

from dicom_node import log
from dicom_node.core.errors import TlsFailure
from dicom_node.network.tls import current_context
from dicom_node.network.tls_settings import ServerTls
from dicom_node.network.tls_words import tls_failure

_HANDSHAKE_RECORD = b"\x16"  # first byte of a ClientHello (RFC 8446, 5.1)
_PLAINTEXT = "The caller cannot be connected by TLS: it does not speak TLS on this port."


class TlsDoor:
    """What stands behind one TLS port.

    Parameters
    ----------
    name
        Whose port this is, for the log, e.g. ``reception``.
    handshake_seconds
        Longest wait for the first byte, and for the handshake.
    """

    def __init__(self, settings: ServerTls, name: str, *, handshake_seconds: float = 10.0) -> None:
        self._settings = settings
        self._name = name
        self._seconds = handshake_seconds

    def wrap(self, connection: socket.socket, address: str, port: int) -> ssl.SSLSocket:
        """Shake hands and return the encrypted connection, with the timeout that the plain one had.

        Parameters
        ----------
        address, port
            The caller's address, and the port listened on, for the log.

        Raises
        ------
        TlsFailure
            No TLS came about. It has been logged, and the connection is closed.
        """
        before = connection.gettimeout()
        try:
            connection.settimeout(self._seconds)
            first = connection.recv(1, socket.MSG_PEEK)
            if not first:
                raise TlsFailure("The caller closed the connection without a word.", code="closed")
            if first != _HANDSHAKE_RECORD:
                raise TlsFailure(_PLAINTEXT, code="plaintext")
            encrypted = current_context(self._settings).wrap_socket(connection, server_side=True)
        except TlsFailure as failure:
            self._refuse(connection, address, port, failure)
            raise
        except OSError as error:
            told = tls_failure(error, whose="The caller")
            self._refuse(connection, address, port, told)
            raise told from error
        encrypted.settimeout(before)
        return encrypted

    def _refuse(self, connection: socket.socket, address: str, port: int, failure: TlsFailure) -> None:
        log.event("tls.refused", room=self._name, port=port, address=address, code=failure.code, reason=str(failure))
        connection.close()


def speaks_tls(first: bytes) -> bool:
    """Return whether the first bytes of a caller on a plain port are a TLS handshake: it is set up for the other port."""
    return first[:1] == _HANDSHAKE_RECORD
