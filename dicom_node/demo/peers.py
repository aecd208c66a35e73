"""The peers of the demo, each on a free loopback port and stopped by its own pid."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
from pydicom import Dataset, dcmread, dcmwrite
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import Verification

from dicom_node.core.errors import PeerError, UsageError
from dicom_node.network.requestor import Requestor

DEV = Path(__file__).resolve().parents[2] / "deploy" / "dev"
LOOPBACK = "127.0.0.1"
PACS_AE = "DEMOPACS"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind((LOOPBACK, 0))
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()


def wait_for(what: str, ready: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until ``ready`` says so.

    Raises
    ------
    PeerError
        It did not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.1)
    raise PeerError(f"{what} did not come up within {seconds:g} s")


def listens(port: int) -> bool:
    """Say whether somebody listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Process:
    """A child process with its output in a file."""

    def __init__(
        self, command: Sequence[str | Path], log: Path, *, cwd: Path | None = None, env: dict[str, str] | None = None
    ) -> None:
        self._log = log.open("wb")
        self.popen = subprocess.Popen(
            [str(part) for part in command], stdout=self._log, stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **(env or {})}
        )

    def stop(self) -> None:
        """Ask it to end, then make it."""
        self.popen.terminate()
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        self._log.close()


class OrthancPacs:
    """A real Orthanc as the PACS: it takes the images, forwards them to the node and shows what comes back."""

    name = "Orthanc"

    def __init__(self, work: Path, dicom_port: int, http_port: int, node_ae: str, node_port: int, **more: Any) -> None:
        """Start it. ``more`` is added to its configuration."""
        self.dicom_port = dicom_port
        self._http = httpx.Client(base_url=f"http://{LOOPBACK}:{http_port}", timeout=30)
        self._node_ae, self._node_port = node_ae, node_port
        folder = work / "orthanc"
        folder.mkdir(parents=True)
        config = {
            "Name": "demo PACS",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomAet": PACS_AE,
            "DicomPort": dicom_port,
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"node": [node_ae, LOOPBACK, node_port]},
            "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
            "DicomWeb": {"Enable": True},
            **more,
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        # Debian's DCMTK leaves Nagle's algorithm on unless told otherwise: 40 ms an object
        self._process = Process(["Orthanc", folder / "orthanc.json"], work / "orthanc.log", env={"TCP_NODELAY": "1"})
        wait_for("Orthanc", lambda: listens(http_port) and listens(dicom_port))

    def forward(self, study_uid: str) -> None:
        """Send one study on to the node by C-STORE, as an auto-forward rule would."""
        body = {"Resources": [self._study(study_uid)], "Synchronous": True}
        answer = self._http.post("/modalities/node/store", json=body)
        if answer.status_code != 200:
            raise PeerError(f"Orthanc could not forward the study to {self._node_ae}: HTTP {answer.status_code}")

    def send_to(self, dataset: Dataset, calling: str, called: str) -> None:
        """Send one object to the node under another AE title, as "send to" in a viewer does."""
        modality = {"AET": called, "Host": LOOPBACK, "Port": self._node_port}
        found = self._http.post("/tools/lookup", content=str(dataset.SOPInstanceUID)).json()
        body = {"Resources": [item["ID"] for item in found if item["Type"] == "Instance"], "LocalAet": calling, "Synchronous": True}
        self._http.put(f"/modalities/{called}", json=modality)
        answer = self._http.post(f"/modalities/{called}/store", json=body)
        if answer.status_code != 200:
            raise PeerError(f"Orthanc could not send the object to {called}: HTTP {answer.status_code}")

    def ask(self, method: str, path: str, **body: Any) -> httpx.Response:
        """Call its REST interface."""
        return self._http.request(method, path, **body)

    def _study(self, study_uid: str) -> str:
        found = self._http.post("/tools/lookup", content=study_uid).json()
        return next(str(item["ID"]) for item in found if item["Type"] == "Study")

    def fetch(self, study_uid: str) -> list[Dataset]:
        """Return every object that the PACS holds of a study."""
        instances = self._http.get(f"/studies/{self._study(study_uid)}/instances").json()
        return [_parse(self._http.get(f"/instances/{item['ID']}/file").content) for item in instances]

    def stop(self) -> None:
        """Stop the server."""
        self._http.close()
        self._process.stop()


class PlainPacs:
    """A small storage SCP, where Orthanc is not installed: it keeps what it gets in a folder."""

    name = "a small storage SCP (Orthanc is not installed)"

    def __init__(self, work: Path, dicom_port: int, node_ae: str, node_port: int) -> None:
        self.dicom_port = dicom_port
        self._folder = work / "pacs"
        self._folder.mkdir(parents=True)
        self._node = (node_ae, node_port)
        entity = AE(PACS_AE)
        entity.supported_contexts = [build_context(c.abstract_syntax or "") for c in AllStoragePresentationContexts]
        entity.add_supported_context(Verification)
        self._server = entity.start_server((LOOPBACK, dicom_port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def _store(self, event: Any) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dcmwrite(self._folder / f"{len(list(self._folder.iterdir())):04d}.dcm", dataset, enforce_file_format=True)
        return 0x0000

    def forward(self, study_uid: str) -> None:
        """Send one study on to the node by C-STORE."""
        send(self.fetch(study_uid), self._node[1], self._node[0], PACS_AE)

    def send_to(self, dataset: Dataset, calling: str, called: str) -> None:
        """Send one object to the node under another AE title, as "send to" in a viewer does."""
        send([dataset], self._node[1], called, calling)

    def fetch(self, study_uid: str) -> list[Dataset]:
        """Return every object that was received of a study."""
        held = [dcmread(path) for path in sorted(self._folder.iterdir())]
        return [dataset for dataset in held if dataset.StudyInstanceUID == study_uid]

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()


def start_pacs(work: Path, dicom_port: int, http_port: int, node_ae: str, node_port: int) -> OrthancPacs | PlainPacs:
    """Start Orthanc, or say plainly that something smaller stands in for it."""
    if shutil.which("Orthanc"):
        return OrthancPacs(work, dicom_port, http_port, node_ae, node_port)
    return PlainPacs(work, dicom_port, node_ae, node_port)


def start_fhir(work: Path, port: int) -> tuple[Process, str]:
    """Start the FHIR R4 peer; returns it and its name. Without Node.js or its packages a recorder stands in."""
    server = DEV / "fhir_peer" / "server.mjs"
    if shutil.which("node") and (server.parent / "node_modules").is_dir():
        process = Process(["node", server, str(port)], work / "fhir.log", cwd=server.parent)
        name = "an in-memory FHIR R4 server"
    else:
        recorder = DEV / "fhir_recorder.py"
        if not recorder.exists():
            raise UsageError("the demo runs from a checkout of the project: deploy/dev is missing")
        process = Process([sys.executable, recorder, "--port", str(port)], work / "fhir.log")
        name = "a recorder of FHIR requests (Node.js or the packages of deploy/dev/fhir_peer are missing)"
    wait_for("the FHIR peer", lambda: listens(port))
    return process, name


def start_mllp(work: Path, port: int) -> tuple[Process, Path]:
    """Start the HL7 peer; returns it and the folder where each message lies."""
    folder = work / "hl7"
    folder.mkdir()
    process = Process([sys.executable, DEV / "mllp_peer.py", "--port", str(port), "--out", folder], work / "mllp.log")
    wait_for("the HL7 peer", lambda: listens(port))
    return process, folder


def send(datasets: Sequence[Dataset], port: int, called: str, calling: str) -> None:
    """Send objects by C-STORE.

    Raises
    ------
    PeerError
        The peer rejected the association or answered anything but success.
    """
    entity = Requestor(calling, timeout_seconds=30)
    for pair in sorted({(str(d.SOPClassUID), str(d.file_meta.TransferSyntaxUID)) for d in datasets}):
        entity.add_requested_context(*pair)
    association = entity.associate(LOOPBACK, port, ae_title=called)
    if not association.is_established:
        raise PeerError(f"{called} rejected the association")
    try:
        for dataset in datasets:
            status = association.send_c_store(dataset)
            if not status or status.Status != 0x0000:
                raise PeerError(f"{called} answered {hex(status.Status) if status else 'nothing'} to C-STORE")
    finally:
        association.release()


def _parse(data: bytes) -> Dataset:
    from io import BytesIO

    return dcmread(BytesIO(data))
