"""What is offered to a caller, and what came of it in words."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

from dicom_node import log
from dicom_node.reception import presentation_contexts as offered
from dicom_node.reception.admission import Peer
from dicom_node.reception.p_data import StorageContext
from dicom_node.reception.service import TRANSFER_SYNTAXES, Service
from dicom_node.reception.settings import PeerSettings

#: Result of a presentation context (PS3.8, Table 9-18).
_RESULTS = {
    1: "user rejection",
    2: "no reason given",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}
#: How long the addresses of a host name are believed.
NAME_SECONDS = 30.0


def supported_contexts(extra: tuple[str, ...], services: Sequence[Service]) -> list[PresentationContext]:
    """Return the presentation contexts of C-ECHO, C-STORE and the other services."""
    contexts = [build_context(offered.VERIFICATION, list(offered.VERIFICATION_TRANSFER_SYNTAXES))]
    syntaxes = list(offered.TRANSFER_SYNTAXES)
    for uid in offered.accepted_sop_classes(extra):
        if not issubclass(uid_to_service_class(uid), StorageServiceClass):  # private or retired
            register_uid(uid, "ConfiguredStorage_" + uid.replace(".", "_"), StorageServiceClass)
        contexts.append(build_context(uid, syntaxes))
    for service in services:
        for uid in service.abstract_syntaxes:
            context = build_context(uid, list(TRANSFER_SYNTAXES))
            context.scu_role, context.scp_role = service.scu_role, service.scp_role
            contexts.append(context)
    return contexts


def storage_contexts(association: Any, sop_classes: Iterable[str]) -> dict[int, StorageContext | None]:
    """Return the accepted contexts by id; ``None`` for those under which no object is taken."""
    known = frozenset(sop_classes)
    return {
        context_id: StorageContext(str(context.abstract_syntax), str(context.transfer_syntax[0]))
        if str(context.abstract_syntax) in known
        else None
        for context_id, context in association._accepted_cx.items()
    }


def outcome_of_contexts(association: Any) -> list[tuple[str, str, str]]:
    """Return for each proposed context its abstract syntax, the transfer syntax taken, and why it was refused."""
    taken = [(cx.context_id, str(cx.abstract_syntax), str(cx.transfer_syntax[0]), "") for cx in association.accepted_contexts]
    refused = [
        (cx.context_id, str(cx.abstract_syntax), "", _RESULTS.get(cx.result, f"result {cx.result}"))
        for cx in association.rejected_contexts
    ]
    return [tuple(one[1:]) for one in sorted(taken + refused)]  # type: ignore[misc]


def tls_of(connection: Any) -> str:
    """Return version, cipher suite and the name in the caller's certificate; empty for a plain connection."""
    if not isinstance(connection, ssl.SSLSocket):
        return ""
    cipher = connection.cipher()
    certificate: Any = connection.getpeercert() or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    return " ".join((connection.version() or "TLS", cipher[0] if cipher else "", *(f"CN={name}" for name in names))).strip()


class Addresses:
    """Where the peers' names lead."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, frozenset[str]]] = {}

    def located(self, peer: PeerSettings) -> Peer:
        """Return the peer with the addresses that its host name has now; a name that leads nowhere admits nobody."""
        if peer.host is None:
            return Peer(peer.ae_title, None, peer.certificate_name)
        try:
            return Peer(peer.ae_title, frozenset((str(ipaddress.ip_address(peer.host)),)), peer.certificate_name)
        except ValueError:
            return Peer(peer.ae_title, self._of_name(peer.host), peer.certificate_name)

    def _of_name(self, host: str) -> frozenset[str]:
        now = time.monotonic()
        with self._lock:
            at, known = self._found.get(host, (float("-inf"), frozenset()))
        if now - at < NAME_SECONDS and known:
            return known
        try:
            found = frozenset(str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except OSError as error:
            log.event("peer.not_found", host=host, error=type(error).__name__)
            return frozenset()
        with self._lock:
            self._found[host] = (now, found)
        return found
