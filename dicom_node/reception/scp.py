"""Reception's door: the Storage SCP. C-ECHO and C-STORE, and what other rooms add; no exception of ours ends an association."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt

from dicom_node import log
from dicom_node.core.errors import StoreError, TlsFailure
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.network.door import TlsDoor
from dicom_node.network.tls import current_context
from dicom_node.reception import negotiation
from dicom_node.reception import presentation_contexts as offered
from dicom_node.reception.callers import Callers
from dicom_node.reception.diary import Diary, Entry
from dicom_node.reception.intake import Command, Intake, Record
from dicom_node.reception.p_data import Receiving, StorageContext
from dicom_node.reception.plain_path import PlainHandler
from dicom_node.reception.server import Server
from dicom_node.reception.service import Service
from dicom_node.reception.settings import ReceptionSettings
from dicom_node.reception.side_door import SideDoor
from dicom_node.reception.status import SUCCESS, DimseStatus
from dicom_node.reception.storing import AdmitStorage, Storing, always
from dicom_node.reception.wire import C_STORE_RQ, NO_DATA_SET, StoreRequest

# The library's own message handlers cost time with every message and write UIDs; this module logs what IT needs.
_config.LOG_HANDLER_LEVEL = "none"

#: Connections beside the associations that are allowed: port probes, callers that are about to be rejected.
SPARE_CONNECTIONS = 64


class Receiver:
    """A running SCP. Made by ``start``."""

    def __init__(
        self,
        settings: ReceptionSettings,
        storing: Storing,
        diary: Diary,
        services: Sequence[Service],
        side_doors: Sequence[SideDoor] = (),
    ) -> None:
        self._settings = settings
        self._storing = storing
        self._diary = diary
        self._callers = Callers(settings, diary, side_doors)
        self._sop_classes = frozenset(offered.accepted_sop_classes(settings.extra_sop_classes))
        ae = AE(ae_title=settings.ae_titles[0])
        ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        ae.maximum_pdu_size = settings.max_pdu_bytes
        ae.maximum_associations = settings.max_associations + 2 * SPARE_CONNECTIONS  # ours is asked first; this one never
        ae.network_timeout = settings.idle_seconds
        ae.dimse_timeout = settings.dimse_timeout_seconds
        ae.acse_timeout = min(30.0, settings.network_timeout_seconds)
        handlers = [
            (evt.EVT_REQUESTED, self._callers.on_requested),
            (evt.EVT_ACCEPTED, self._callers.on_accepted),
            (evt.EVT_ACSE_RECV, self._callers.on_end_of_peer),
            (evt.EVT_RELEASED, self._callers.on_released),
            (evt.EVT_ABORTED, self._callers.on_aborted),
            (evt.EVT_DIMSE_RECV, self._on_message),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            *(handler for service in services for handler in service.handlers),
        ]
        contexts = negotiation.supported_contexts(settings.extra_sop_classes, services)
        self._servers = [self._made_server(ae, port, door, contexts, handlers) for port, door in _doors(settings)]
        self._threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="reception", daemon=True)
            for server in self._servers
        ]

    def _made_server(self, ae: AE, port: int, door: TlsDoor | None, contexts: list[Any], handlers: list[Any]) -> Server:
        settings = self._settings
        try:
            server: Server = ae.make_server(
                (settings.host, port),
                contexts=contexts,
                evt_handlers=handlers,
                server_class=Server,
                request_handler=_handler_class(settings),
            )
        except OSError as error:
            reason = f"{error.strerror}: another program has the port, this user may not, or the address is not this machine's"
            log.event("reception.not_listening", address=settings.host, port=port, reason=reason)
            raise StoreError(f"port {port} cannot be opened. {reason}") from None
        server.door = door
        server.objects = self
        server.on_turned_away = self._callers.turned_away
        server.message_seconds = settings.dimse_timeout_seconds
        server.max_connections = settings.max_associations + SPARE_CONNECTIONS
        return server

    @property
    def port(self) -> int:
        """The port listened on, the plain one if there is one; the real one when the settings said 0."""
        return int(self._servers[0].server_address[1])

    @property
    def tls_port(self) -> int | None:
        """The port of DICOM over TLS."""
        return next((int(server.server_address[1]) for server in self._servers if server.door is not None), None)

    @property
    def intake(self) -> Intake:
        """Where objects of other doors go: the same files, the same shared commits."""
        return self._storing.intake

    @property
    def open_associations(self) -> int:
        """How many associations are open."""
        return self._callers.count

    def listen(self) -> None:
        """Begin to accept associations."""
        self._diary.start()
        for server, thread in zip(self._servers, self._threads, strict=True):
            thread.start()
            kind = "plain" if server.door is None else "tls"
            log.event("reception.listening", address=self._settings.host, port=int(server.server_address[1]), kind=kind)

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Stop: new associations are turned away, open ones may finish for ``grace_seconds``, then they are aborted.

        An object whose answer had not left yet is either stored or not; the sender sends it again and finds out.
        """
        self._callers.stopping = True
        end = time.monotonic() + grace_seconds
        # a connection that never asked for an association (a port probe) has nothing to finish
        while self._established() and time.monotonic() < end:
            time.sleep(0.05)
        left = self._established()
        for association in left:
            self._callers.node_ends(association, "the node is stopping")
            association.abort()
        for server, thread in zip(self._servers, self._threads, strict=True):
            server.shutdown()
            thread.join()
        for association in left:
            association.join(timeout=5.0)
        self._diary.stop()
        self._storing.intake.close()
        log.event("reception.stopped", count=len(left))

    def _established(self) -> list[Any]:
        return [one for server in self._servers for one in server.active_associations if one.is_established]

    # --- objects: fast path --------------------------------------------------------------------------------------------

    def storage_contexts(self, association: Any) -> dict[int, StorageContext | None]:
        """Return the accepted contexts by id; ``None`` for those under which no object is taken."""
        return negotiation.storage_contexts(association, self._sop_classes)

    def begin_object(self, association: Any, request: StoreRequest, context: StorageContext) -> Receiving:
        """Begin an object."""
        entry = self._callers.entry(association)
        return self._storing_of(entry).begin(_command(request.sop_class_uid, request.sop_instance_uid, context, entry), entry)

    def _storing_of(self, entry: Entry) -> Storing:
        """Return what takes the objects of an association: the called AE title decides."""
        door = entry.door
        if door is None:
            return self._storing
        return self._storing.at(self._storing.intake.beside(partial(door.record, association=entry.token), door.admit, door.folder))

    def node_ends(self, association: Any, why: str) -> None:
        """Note why this side ends an association; said before the abort."""
        self._callers.node_ends(association, why)

    def association_over(self, association: Any) -> None:
        """The association's thread ends: its place is free."""
        self._callers.over(association)

    # --- messages through the library ----------------------------------------------------------------------------------

    def _on_echo(self, _event: Any) -> int:
        return SUCCESS.code

    def _on_message(self, event: Any) -> None:
        """A C-STORE-RQ without data set would be left unanswered by the library for ever: end the association instead."""
        command = event.message.command_set
        if command.get("CommandField") == C_STORE_RQ and command.get("CommandDataSetType") == NO_DATA_SET:
            log.event("object.refused", reason="C-STORE request without data set")
            self._callers.node_ends(event.assoc, "a C-STORE request without data set")
            event.assoc.abort(block=False)

    def _on_store(self, event: Any) -> int | Dataset:
        """Take one object on the plain path; whatever happens, there is an answer."""
        request, entry = event.request, self._callers.entry(event.assoc)
        context = StorageContext(str(event.context.abstract_syntax), str(event.context.transfer_syntax))
        command = _command(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), context, entry)
        status, comment = self._storing_of(entry).receive(command, request.DataSet.getvalue(), entry)
        return SUCCESS.code if status is SUCCESS else _answer(status, comment)


def start(
    settings: ReceptionSettings,
    *,
    home: Path,
    database: sa.Engine,
    record: Record,
    services: Sequence[Service] = (),
    admit_storage: AdmitStorage = always,
    side_doors: Sequence[SideDoor] = (),
) -> Receiver:
    """Start the Storage SCP and return it, listening.

    Parameters
    ----------
    home
        Objects lie below ``home/store``.
    database
        Engine of ``dicom_node.store.connect``.
    record
        Writes the rows of one instance, inside the transaction that makes it durable.
    services
        Other DIMSE services that are answered on the same port.
    admit_storage
        Asked before each object; a status refuses it, ``meaning`` being the Error Comment.
    side_doors
        AE titles of other rooms on the same ports.

    Raises
    ------
    StoreError
        The port cannot be had; the log says which and why.
    """
    storing = Storing(Intake(home, database, record), max_object_bytes=settings.max_object_bytes, admit_storage=admit_storage)
    receiver = Receiver(settings, storing, Diary(database, settings.diary_days), services, side_doors)
    receiver.listen()
    return receiver


def _doors(settings: ReceptionSettings) -> list[tuple[int, TlsDoor | None]]:
    """Return the ports to listen on, with what shakes hands there."""
    ports: list[tuple[int, TlsDoor | None]] = [(settings.port, None)] if settings.plaintext else []
    if settings.tls is not None:
        with contextlib.suppress(TlsFailure):  # told in the log now; right files are used as soon as they are there, and until
            current_context(settings.tls)  # then the plain port goes on
        ports.append((settings.tls.port, TlsDoor(settings.tls, "reception")))
    return ports


def _handler_class(settings: ReceptionSettings) -> Any:
    """Return what makes associations. The plain path works also where the fast one cannot be imported."""
    if settings.path == "plain":
        return PlainHandler
    from dicom_node.reception.fast_path import FastHandler

    return FastHandler


def _command(sop_class_uid: str, sop_instance_uid: str, context: StorageContext, entry: Entry) -> Command:
    return Command(
        sop_class_uid, sop_instance_uid, context.sop_class_uid, context.transfer_syntax_uid, entry.calling_ae, entry.called_ae
    )


def _answer(status: DimseStatus, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status.code
    answer.ErrorComment = comment
    return answer
