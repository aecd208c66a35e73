"""Images in by STOW-RS, results out by STOW-RS: the whole way, with dicomweb-client and a real Orthanc."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicomweb_client.web import DICOMwebClient

from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports, listens, wait_for
from tests.factories.phantom_dicom import chest
from tests.integration.running_node import SENDER, RunningNode, configuration


def test_a_study_stored_by_http_is_answered_by_http(tmp_path: Path, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """A radiograph posted to the node comes back into Orthanc as SC and report, proven by query, without a single DIMSE message."""
    dicom_port, http_port, stow_port = free_ports(3)
    pacs = OrthancPacs(tmp_path, dicom_port, http_port, "AINODE", 1)
    try:
        settings = configuration(pacs_port=dicom_port, when={"modality": ["CR", "DX"], "calling_ae": "GATEWAY"})
        url = f"http://{LOOPBACK}:{http_port}/dicom-web"
        settings["reception"]["stow"] = {"port": stow_port, "calling_ae": "GATEWAY"}
        settings["archives"] = {
            "pacs": {"kind": "dicomweb", "base_url": url, "calling_ae": SENDER}
        }  # not asked about what comes by HTTP
        settings["destinations"]["pacs"] = {
            "kind": "dicomweb_stow",
            "base_url": url,
            "outputs": ["secondary_capture", "text_report"],
            "allow_unvalidated": True,
            "proof": "query",
            "archive": "pacs",
            "proof_after_seconds": 0.5,
        }
        node = make_node(settings)
        wait_for("the STOW-RS port", lambda: '"event": "stow.listening"' in node.log())
        image = chest("by http")
        told = DICOMwebClient(f"http://{LOOPBACK}:{stow_port}/dicomweb").store_instances([image])
        assert [str(item.ReferencedSOPInstanceUID) for item in told.ReferencedSOPSequence] == [str(image.SOPInstanceUID)]
        story = node.wait_until_answered(str(image.StudyInstanceUID))
        assert [d["state"] for d in story["deliveries"]] == ["done", "done"], story["deliveries"]
        assert {d["proof"] for d in story["deliveries"]} == {"query"}
        back = pacs.fetch(str(image.StudyInstanceUID))
        assert sorted(d.Modality for d in back) == ["OT", "SR"]
        assert all(d.PatientID == image.PatientID for d in back)
    finally:
        pacs.stop()


def test_http_ports_that_others_have_keep_no_image_away(make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """Other programs have the ports of STOW-RS and of the pages: the SCP stays up, the log says so, and they are opened later."""
    (stow_port,) = free_ports(1)
    settings = configuration(pacs_port=1)
    settings["reception"]["stow"] = {"port": stow_port}
    with (
        socket.create_server((LOOPBACK, stow_port)) as first,
        socket.create_server((LOOPBACK, settings["web"]["port"])) as second,
    ):
        node = make_node(settings)
        wait_for("both to be told", lambda: {"stow.not_listening", "web.not_listening"} <= _events(node))
        assert listens(node.port)
        first.close()
        second.close()
        wait_for("both ports", lambda: {"stow.listening", "web.listening"} <= _events(node), 30)
    assert "role.died" not in _events(node)
    assert node.stop() == 0


def _events(node: RunningNode) -> set[str]:
    return {json.loads(line)["event"] for line in node.log().splitlines() if line.startswith("{")}
