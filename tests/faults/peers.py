"""A PACS, a RIS and a FHIR server that fail as real ones do, each trouble once, and remember what they were given."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.delivery import commitment
from dicom_node.demo.peers import LOOPBACK, free_ports
from tests.factories.committing_pacs import report_on
from tests.factories.deliverables import BASIC_TEXT_SR, SECONDARY_CAPTURE
from tests.factories.quirky_peers import http_peer
from tests.factories.rejection_notes import KEY_OBJECTS

COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"
FHIR_PEER = Path(__file__).parents[2] / "deploy" / "dev" / "fhir_peer"


class Peer:
    """What every peer has: troubles still to come, and the contents it was given by the name they came under."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.troubles: deque[str] = deque()
        self.given: defaultdict[str, list[str]] = defaultdict(list)  # identifier -> sha256 of each receipt
        self.injected = 0
        self._lock = threading.Lock()

    def next_trouble(self) -> str:
        """Take the next trouble; ``""``: none, behave well."""
        with self._lock:
            if not self.troubles:
                return ""
            self.injected += 1
            return self.troubles.popleft()

    def keep(self, identifier: str, data: bytes) -> None:
        """Remember one receipt."""
        with self._lock:
            self.given[identifier].append(hashlib.sha256(data).hexdigest())


class Pacs(Peer):
    """A storage SCP on ``port``. Troubles, one an association: ``reject``, ``silent association``, ``abort``, ``close mid-object``,
    ``a700``, ``b000``, ``silent``, ``kept, no answer``.
    """

    AE_TITLE = "DEMOPACS"

    def __init__(self) -> None:
        super().__init__(free_ports(1)[0])
        self.objects: dict[str, Dataset] = {}
        self._server: Any = None
        self._current: dict[Any, str] = {}

    def open(self) -> None:
        """Begin to listen."""
        entity = AE(self.AE_TITLE)
        entity.maximum_associations = 20
        for uid in (BASIC_TEXT_SR, SECONDARY_CAPTURE, COMPREHENSIVE_SR, KEY_OBJECTS, Verification, commitment.SOP_CLASS):
            entity.add_supported_context(uid)
        handlers = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_PDU_RECV, self._pdu),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commit),
        ]
        self._server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)

    def close(self) -> None:
        """Go down: nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _requested(self, event: Any) -> None:
        trouble = self._current[event.assoc] = self.next_trouble()
        if trouble == "reject":
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            event.assoc.is_rejected = True
            event.assoc.kill()
        elif trouble == "silent association":
            time.sleep(4)

    def _pdu(self, event: Any) -> None:
        if self._current.get(event.assoc) == "close mid-object" and event.pdu.pdu_type == 0x04:
            self._current[event.assoc] = ""
            with contextlib.suppress(OSError):
                event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    def _store(self, event: Any) -> int:
        trouble = self._current.pop(event.assoc, "")
        if trouble == "abort":
            event.assoc.abort()
            return 0xA700
        if trouble == "a700":
            return 0xA700
        self.keep(str(event.request.AffectedSOPInstanceUID), event.request.DataSet.getvalue())
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.objects[str(dataset.SOPInstanceUID)] = dataset
        if trouble == "kept, no answer":
            event.assoc.abort()
        elif trouble == "silent":
            time.sleep(4)
        return 0xB000 if trouble == "b000" else 0x0000

    def _commit(self, event: Any) -> tuple[int, None]:
        """Storage commitment: answered, and reported on the same association a moment later."""
        asked, association = event.action_information, event.assoc

        def report() -> None:
            time.sleep(0.1)
            missing = {uid: 0x0112 for _, uid in commitment.read_request(asked).objects if uid not in self.given}
            event_type, data = report_on(asked, missing)
            with contextlib.suppress(Exception):  # whoever asked may have been killed meanwhile
                association.send_n_event_report(data, event_type, commitment.SOP_CLASS, commitment.SOP_INSTANCE)

        threading.Thread(target=report, daemon=True).start()
        return 0x0000, None


class _Line(socketserver.BaseRequestHandler):
    """One MLLP connection."""

    def handle(self) -> None:
        ris: Ris = self.server.ris  # type: ignore[attr-defined]
        held = b""
        while b"\x1c\r" not in held:
            piece = self.request.recv(65536)
            if not piece:
                return
            held += piece
        message = held[: held.index(b"\x1c\r")].lstrip(b"\x0b")
        control = message.split(b"\r", 1)[0].split(b"|")[9]
        trouble = ris.next_trouble()
        if trouble in ("", "kept, no answer", "silent", "wrong name"):
            ris.keep(control.decode(), message)
        if trouble == "silent":
            time.sleep(4)
        elif trouble not in ("closed", "kept, no answer"):
            code = trouble if trouble in ("AE", "AR") else "AA"
            named = b"ANOTHER" if trouble == "wrong name" else control
            head = b"MSH|^~\\&|RIS|H|AI|H|20261121||ACK^R01^ACK|1|P|2.5.1"
            self.request.sendall(b"\x0b" + head + b"\rMSA|" + code.encode() + b"|" + named + b"\r\x1c\r")


class Ris(Peer):
    """An MLLP listener. Troubles, one a message: ``AE``, ``AR``, ``silent``, ``closed``, ``wrong name``, ``kept, no answer``."""


@contextmanager
def running_ris() -> Iterator[Ris]:
    """Run it."""
    server = socketserver.ThreadingTCPServer((LOOPBACK, 0), _Line)
    server.daemon_threads = True
    ris = Ris(server.server_address[1])
    server.ris = ris  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ris
    server.shutdown()
    server.server_close()


class Fhir(Peer):
    """A real R4 server behind a door that fails. One trouble a time: a status, ``silent``, ``closed``, ``kept, no answer``."""

    url = ""
    behind = ""

    def reports(self) -> list[dict[str, Any]]:
        """Return the DiagnosticReports that the server behind the door has now."""
        found = httpx.get(f"{self.behind}/DiagnosticReport?_count=1000", trust_env=False).json()
        return [entry["resource"] for entry in found.get("entry", ())]


@contextmanager
def running_fhir() -> Iterator[Fhir]:
    """Run both."""
    assert shutil.which("node"), "Node.js is not installed: run `make setup`"
    process = subprocess.Popen(["node", "server.mjs", "0"], cwd=FHIR_PEER, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert process.stdout is not None
    fhir = Fhir()
    fhir.behind = f"http://{LOOPBACK}:{json.loads(process.stdout.readline())['listening']}"
    client = httpx.Client(trust_env=False, timeout=20, headers={"Content-Type": "application/fhir+json"})

    def answer(method: str, path: str, body: bytes) -> tuple[int, Any]:
        trouble = fhir.next_trouble() if method == "POST" else ""
        if trouble.isdigit():
            return int(trouble), {"resourceType": "OperationOutcome"}
        if trouble == "closed":
            return 0, None
        if trouble == "silent":
            time.sleep(4)
            return 0, None
        there = client.request(method, fhir.behind + path.removeprefix("/fhir"), content=body or None)
        return (0, None) if trouble == "kept, no answer" else (there.status_code, there.content)

    with http_peer(answer) as door:
        fhir.url = door.url
        yield fhir
    client.close()
    process.terminate()
    process.wait(10)
