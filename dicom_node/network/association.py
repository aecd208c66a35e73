"""An association that this node opens: presentation contexts, roles, timeouts, TLS, and what went wrong in words (PS3.8)."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from pynetdicom import build_role, evt
from pynetdicom.association import Association

from dicom_node.core.delivery import Outcome
from dicom_node.core.errors import AssociationRejected, PeerError, PeerTimeout, PeerUnreachable
from dicom_node.network.dimse_status import rejection_meaning
from dicom_node.network.requestor import Requestor, cut
from dicom_node.network.tls import ClientTls, current_context
from dicom_node.network.tls_words import tls_failure

#: Beside the time that a peer has to answer a release.
_RELEASE_SECONDS = 2.0


@contextlib.contextmanager
def open_association(
    *,
    host: str,
    port: int,
    called_ae: str,
    calling_ae: str,
    contexts: Sequence[tuple[str, Sequence[str]]],
    timeout_seconds: float,
    tls: ClientTls | None = None,
    roles: Sequence[tuple[str, bool, bool]] = (),
    evt_handlers: Sequence[tuple[Any, ...]] = (),
) -> Iterator[Association]:
    """Open an association as its requestor, and release it at the end.

    It is given to the caller also when the peer accepted none of the contexts: which ones is the caller's message.

    Parameters
    ----------
    contexts
        Abstract syntax and the transfer syntaxes proposed for it, one presentation context each.
    timeout_seconds
        Longest wait for the connection, for the answer to the request, for each DIMSE answer, for a silent peer, and for a PDU that
        was begun, either way; a whole message has ``requestor.MOST_SENDING_SECONDS`` to leave.
    tls
        Encrypt with these files; ``None``: plain TCP.
    roles
        Abstract syntax, whether we are its SCU, whether its SCP (role selection, PS3.7, D.3.3.4).
    evt_handlers
        pynetdicom's ``(event, handler)``, e.g. for C-STORE sub-operations of a C-GET.

    Raises
    ------
    AssociationRejected
        The peer rejected the association; the message says what to do about it.
    TlsFailure
        No encrypted connection came about; the message says why.
    PeerTimeout
        The peer cannot be reached, does not answer, or aborted.
    PeerError
        It answered the request with something that cannot be read.
    """
    encryption = None if tls is None else _Encryption(current_context(tls))
    entity = Requestor(calling_ae, timeout_seconds)
    for abstract_syntax, transfer_syntaxes in contexts:
        entity.add_requested_context(abstract_syntax, list(transfer_syntaxes))
    opened: list[bool] = []

    def on_open(_event: Any) -> None:
        opened.append(True)

    handlers = [(evt.EVT_CONN_OPEN, _no_delay), (evt.EVT_CONN_OPEN, on_open), *evt_handlers]
    try:
        association = entity.associate(
            host,
            port,
            ae_title=called_ae,
            ext_neg=[build_role(uid, scu_role=scu, scp_role=scp) for uid, scu, scp in roles],
            evt_handlers=handlers,
            tls_args=None if tls is None else (encryption, tls.server_name),
        )
    except (socket.gaierror, UnicodeError) as error:
        raise PeerUnreachable(f'The name "{host}" cannot be resolved to an address.') from error
    except Exception as error:  # broad on purpose: whatever the library stumbles over in the answer of a stranger
        if entity.association is None or not opened:
            raise
        cut(entity.association)
        raise PeerError(f"The peer's answer to the request cannot be read ({type(error).__name__}).") from error
    try:
        if association.is_rejected:
            answer = association.acceptor.primitive
            meaning = rejection_meaning(answer.result, answer.result_source, answer.diagnostic, called_ae, calling_ae)
            raise AssociationRejected(meaning.text, temporary=meaning.outcome is Outcome.RETRY)
        if not association.is_established and not association.rejected_contexts:
            if encryption is not None and encryption.failure is not None:
                raise tls_failure(encryption.failure) from encryption.failure
            if opened:
                raise PeerTimeout("The peer aborted the association, or did not answer the request in time.")
            raise PeerUnreachable(f"The peer cannot be reached at {host}:{port}.")
        if association.is_established and association.acceptor.maximum_length is None:  # mandatory (PS3.7, D.3.3.1)
            raise PeerError("The peer's answer to the request cannot be read: it says no maximum length.")
        yield association
    except RuntimeError as error:
        if type(error) is not RuntimeError or association.is_established:
            raise
        raise PeerTimeout("The peer ended the association.") from error  # between two messages: the library sends nothing then
    finally:
        if association.is_established:
            _release(association, timeout_seconds)


def _release(association: Association, timeout_seconds: float) -> None:
    """Release it, or abort it where that does not end: whoever waits here may be the only one who proves or sends anything.

    The library's release waits without end for its own reactor to pause. It may already wait, and not say so: when the peer's
    N-EVENT-REPORT came before the answer to our N-ACTION, and the reactor was held up meanwhile (one association in a hundred on
    a machine under load).
    """

    def release() -> None:
        with contextlib.suppress(Exception):  # broad on purpose: the association is over either way, and nothing is lost with it
            association.release()

    releasing = threading.Thread(target=release, name="release", daemon=True)
    releasing.start()
    releasing.join(timeout_seconds + _RELEASE_SECONDS)
    if releasing.is_alive():
        association.abort()  # sets the reactor going, which ends the thread above


class _Encryption:
    """What pynetdicom takes for an ``SSLContext``: it wraps the socket, and keeps hold of it to tell what went wrong."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._socket: Any = None

    def wrap_socket(self, plain: socket.socket, *, server_side: bool, server_hostname: str | None) -> ssl.SSLSocket:
        """See ``ssl.SSLContext``."""
        self._socket = self._context.wrap_socket(plain, server_side=server_side, server_hostname=server_hostname)
        return self._socket  # type: ignore[no-any-return]

    @property
    def failure(self) -> OSError | None:
        """Why TLS broke; a connection that was refused or timed out before TLS is not TLS's failure."""
        failure = getattr(self._socket, "failure", None)
        return failure if isinstance(failure, OSError) else None


def _no_delay(event: Any) -> None:
    """Send small objects at once: with Nagle's algorithm a report of 8 kB takes 46 ms instead of 3."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
