"""Peers on loopback that are not polite: a PACS and an HTTP server that answer as they are told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from dicom_node.demo.peers import send
from tests.factories.deliverables import BASIC_TEXT_SR, SECONDARY_CAPTURE


class QuirkyPacs:
    """What a PACS was sent, and how it answers.

    ``answer``: a status, or ``"abort"``, or ``"silence"``. It repeats patients in its Error Comment, as real ones do.
    ``coerced``: the Patient ID that it writes over that of whatever it stores; empty: it leaves it.
    """

    def __init__(self, answer: int | str = 0x0000, coerced: str = "") -> None:
        self.answer = answer
        self.coerced = coerced
        self.stored: list[Dataset] = []
        self.contexts: list[int] = []
        self.implementation: tuple[str, str] = ("", "")
        self.port = 0

    def on_requested(self, event: Any) -> None:
        requestor = event.assoc.requestor
        self.contexts.append(len(requestor.primitive.presentation_context_definition_list))
        self.implementation = (str(requestor.implementation_class_uid), str(requestor.implementation_version_name))

    def on_store(self, event: Any) -> Dataset:
        if self.answer == "abort":
            event.assoc.abort()
        if self.answer == "silence":
            time.sleep(2)
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        if self.coerced:
            dataset.PatientID = self.coerced
        self.stored.append(dataset)
        status = Dataset()
        status.Status = self.answer if isinstance(self.answer, int) else 0x0000
        if status.Status:
            status.ErrorComment = "Doe^Jane PID-0042 differs"
        return status

    def send_all_twice(self, port: int, ae_title: str, *more: Dataset) -> None:
        """Forward what it has, and ``more``, to a node: everything twice, our own objects with its own Patient ID too."""
        send([*self.stored, *more], port, ae_title, "DEMOPACS")
        send([*more, *self.stored], port, ae_title, "DEMOPACS")


@contextmanager
def quirky_pacs(
    answer: int | str = 0x0000,
    classes: tuple[str, ...] = (BASIC_TEXT_SR, SECONDARY_CAPTURE),
    known_aes: tuple[str, ...] = (),
    ae_title: str = "PACS",
    maximum: int = 10,
    coerced: str = "",
) -> Iterator[QuirkyPacs]:
    """Run a PACS that takes these SOP classes in Explicit VR Little Endian from these AE titles (none: from all)."""
    pacs = QuirkyPacs(answer, coerced)
    entity = AE(ae_title=ae_title)
    entity.maximum_associations = maximum
    entity.require_called_aet = True
    if known_aes:
        entity.require_calling_aet = list(known_aes)
    for uid in (*classes, Verification):
        entity.add_supported_context(uid, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, pacs.on_store), (evt.EVT_REQUESTED, pacs.on_requested)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    pacs.port = server.socket.getsockname()[1]
    try:
        yield pacs
    finally:
        server.shutdown()


Answer = Callable[[str, str, bytes], tuple[int, Any]]


class HttpPeer:
    """What an HTTP server was asked: method, path, headers, body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def http_peer(answer: Answer) -> Iterator[HttpPeer]:
    """Run an HTTP server; ``answer(method, path, body)`` gives status and JSON, bytes, or ``None`` to close without an answer."""
    peer = HttpPeer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            peer.requests.append((self.command, self.path, dict(self.headers), body))
            status, told = answer(self.command, self.path, body)
            if told is None:
                self.close_connection = True
                return
            data = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}/fhir"
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
