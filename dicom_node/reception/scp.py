"""Reception's door: the Storage SCP. C-ECHO and C-STORE; nothing is decoded here, and no exception ends an association."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node import log
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.reception import presentation_contexts as offered
from dicom_node.reception.admission import Peer, admit
from dicom_node.reception.intake import Command, Intake, Record
from dicom_node.reception.settings import PeerSettings, ReceptionSettings
from dicom_node.reception.status import SUCCESS, DimseStatus, answer_to

_NO_DATA_SET = 0x0101  # Command Data Set Type (0000,0800), PS3.7 E.1
_C_STORE_RQ = 0x0001

# The library's own message handlers cost time with every message and write UIDs; this module logs what IT needs.
_config.LOG_HANDLER_LEVEL = "none"

_T = TypeVar("_T")


class _Contexts(list[_T]):
    """Presentation contexts that pynetdicom can copy cheaply: it deep-copies all of them for every association."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> _Contexts[_T]:
        copies: _Contexts[_T] = _Contexts()
        for context in self:
            copy = object.__new__(type(context))
            copy.__dict__.update(context.__dict__)
            copy.__dict__["_transfer_syntax"] = list(context.__dict__["_transfer_syntax"])
            copies.append(copy)
        return copies


class _Server(ThreadedAssociationServer):  # type: ignore[misc]
    """The listening socket. Every answer leaves at once: Nagle's algorithm would hold a C-STORE-RSP back for a peer's late ACK."""

    request_queue_size = 64
    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def shutdown(self) -> None:
        """Stop serving and close the port; may be called twice."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


@dataclass
class _Diary:
    """What one association brought, for the line that is logged when it ends."""

    calling_ae: str
    called_ae: str
    address: str
    started: float
    stored: int = 0
    bytes: int = 0
    refused: int = 0
    how_ended: str = "connection closed"


class Receiver:
    """A running SCP. Made by ``start``."""

    def __init__(self, settings: ReceptionSettings, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._stopping = False
        self._diaries: dict[Any, _Diary] = {}
        ae = AE(ae_title=settings.ae_titles[0])
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = settings.max_pdu_bytes
        ae.maximum_associations = settings.max_associations + 1  # ours is asked first; this is the net below it
        ae.network_timeout = settings.network_timeout_seconds
        ae.dimse_timeout = settings.dimse_timeout_seconds
        ae.acse_timeout = min(30.0, settings.network_timeout_seconds)
        handlers = [
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_ACCEPTED, self._on_accepted),
            (evt.EVT_RELEASED, self._on_released),
            (evt.EVT_ABORTED, self._on_aborted),
            (evt.EVT_CONN_CLOSE, self._on_closed),
            (evt.EVT_DIMSE_RECV, self._on_message),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
        ]
        self._server = ae.make_server(
            (settings.host, settings.port),
            contexts=_Contexts(_supported(settings.extra_sop_classes)),
            evt_handlers=handlers,
            server_class=_Server,
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, name="reception", daemon=True
        )

    @property
    def port(self) -> int:
        """The port listened on; the real one when the settings said 0."""
        return int(self._server.server_address[1])

    def listen(self) -> None:
        """Begin to accept associations."""
        self._thread.start()
        log.event("reception.listening", address=self._settings.host, port=self.port)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Stop: new associations are turned away, open ones may finish for ``grace_seconds``, then they are aborted.

        An object whose answer had not left yet is either stored or not; the sender sends it again and finds out.
        """
        self._stopping = True
        end = time.monotonic() + grace_seconds
        # a connection that never asked for an association (a port probe) has nothing to finish
        while any(a.is_established for a in self._server.active_associations) and time.monotonic() < end:
            time.sleep(0.05)
        left = [a for a in self._server.active_associations if a.is_established]
        for association in left:
            association.abort()
        self._server.shutdown()
        self._thread.join()
        for association in left:
            association.join(timeout=5.0)
        log.event("reception.stopped", count=len(left))

    # --- association ---------------------------------------------------------------------------------------------------

    def _on_requested(self, event: Any) -> None:
        """Turn the caller away, or let pynetdicom negotiate."""
        association = event.assoc
        request = association.requestor.primitive
        calling, called = str(request.calling_ae_title).strip(), str(request.called_ae_title).strip()
        address = str(association.requestor.address)
        others = sum(1 for other in self._server.active_associations if other is not association and other.is_established)
        rejection = admit(
            calling,
            called,
            address,
            peers=[_located(peer) for peer in self._settings.peers if peer.ae_title == calling],
            ae_titles=self._settings.ae_titles,
            open_associations=others,
            limit=self._settings.max_associations,
            stopping=self._stopping,
        )
        if rejection is None:
            return
        association.acse.send_reject(rejection.result, rejection.source, rejection.reason)
        association.is_rejected = True
        association.kill()
        log.event("association.rejected", calling_ae=calling, called_ae=called, address=address, reason=rejection.text)

    def _on_accepted(self, event: Any) -> None:
        request = event.assoc.requestor.primitive
        self._diaries[event.assoc] = _Diary(
            str(request.calling_ae_title).strip(),
            str(request.called_ae_title).strip(),
            str(event.assoc.requestor.address),
            time.monotonic(),
        )

    def _on_released(self, event: Any) -> None:
        self._end(event, "released")

    def _on_aborted(self, event: Any) -> None:
        self._end(event, "aborted")

    def _end(self, event: Any, how: str) -> None:
        diary = self._diaries.get(event.assoc)
        if diary is not None:
            diary.how_ended = how

    def _on_closed(self, event: Any) -> None:
        diary = self._diaries.pop(event.assoc, None)
        if diary is None:
            return
        log.event(
            "association.ended",
            calling_ae=diary.calling_ae,
            called_ae=diary.called_ae,
            address=diary.address,
            count=diary.stored,
            size=diary.bytes,
            seconds=round(time.monotonic() - diary.started, 3),
            reason=diary.how_ended,
            outcome=f"{diary.refused} refused",
        )

    # --- messages ------------------------------------------------------------------------------------------------------

    def _on_echo(self, _event: Any) -> int:
        return SUCCESS.code

    def _on_message(self, event: Any) -> None:
        """A C-STORE-RQ without data set would be left unanswered by the library for ever: end the association instead."""
        command = event.message.command_set
        if command.get("CommandField") == _C_STORE_RQ and command.get("CommandDataSetType") == _NO_DATA_SET:
            log.event("object.refused", reason="C-STORE request without data set")
            event.assoc.abort(block=False)

    def _on_store(self, event: Any) -> int | Dataset:
        """Take one object; whatever happens, there is an answer."""
        association, request = event.assoc.requestor.primitive, event.request
        calling, called = str(association.calling_ae_title).strip(), str(association.called_ae_title).strip()
        diary = self._diaries.get(event.assoc)
        try:
            data = request.DataSet.getvalue()
            self._intake.receive(
                Command(
                    str(request.AffectedSOPClassUID),
                    str(request.AffectedSOPInstanceUID),
                    str(event.context.abstract_syntax),
                    str(event.context.transfer_syntax),
                    calling,
                    called,
                ),
                data,
            )
        except Exception as error:  # the SCP handler: the sender gets an answer whatever fails
            return self._refuse(error, calling, called, diary)
        if diary is not None:
            diary.stored += 1
            diary.bytes += len(data)
        return SUCCESS.code

    def _refuse(self, error: Exception, calling: str, called: str, diary: _Diary | None) -> Dataset:
        status, comment = answer_to(error)
        if diary is not None:
            diary.refused += 1
        log.event(
            "object.refused",
            calling_ae=calling,
            called_ae=called,
            status=f"0x{status.code:04X}",
            reason=comment,
            error=type(error).__name__,
        )
        try:
            self._intake.note_refusal(calling, called, status, comment)
        except sa.exc.SQLAlchemyError as second:
            log.event("refusal.not_recorded", error=type(second).__name__)
        return _answer(status, comment)


def start(settings: ReceptionSettings, *, home: Path, database: sa.Engine, record: Record) -> Receiver:
    """Start the Storage SCP and return it, listening.

    Parameters
    ----------
    home
        Objects lie below ``home/store``.
    database
        Engine of ``dicom_node.store.connect``.
    record
        Writes the rows of one instance, inside the transaction that makes it durable.

    Raises
    ------
    OSError
        The port cannot be had.
    """
    receiver = Receiver(settings, Intake(home, database, record))
    receiver.listen()
    return receiver


def _answer(status: DimseStatus, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status.code
    answer.ErrorComment = comment
    return answer


def _supported(extra: tuple[str, ...]) -> list[PresentationContext]:
    contexts = [build_context(offered.VERIFICATION, list(offered.VERIFICATION_TRANSFER_SYNTAXES))]
    syntaxes = list(offered.TRANSFER_SYNTAXES)
    for uid in offered.accepted_sop_classes(extra):
        if not issubclass(uid_to_service_class(uid), StorageServiceClass):  # private or retired
            register_uid(uid, "ConfiguredStorage_" + uid.replace(".", "_"), StorageServiceClass)
        contexts.append(build_context(uid, syntaxes))
    return contexts


def _located(peer: PeerSettings) -> Peer:
    """Return the peer with the addresses that its host name has now; a name that leads nowhere admits nobody."""
    if peer.host is None:
        return Peer(peer.ae_title, None)
    try:
        return Peer(peer.ae_title, frozenset((str(ipaddress.ip_address(peer.host)),)))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(peer.host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        log.event("peer.not_found", host=peer.host, error=type(error).__name__)
        return Peer(peer.ae_title, frozenset())
    return Peer(peer.ae_title, frozenset(str(entry[4][0]) for entry in found))
