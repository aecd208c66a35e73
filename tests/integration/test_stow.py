"""Images in by STOW-RS, results out by STOW-RS: the whole way, with dicomweb-client and a real Orthanc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dicomweb_client.web import DICOMwebClient

from dicom_node.demo.peers import LOOPBACK, OrthancPacs, free_ports, wait_for
from tests.factories.phantom_dicom import chest
from tests.integration.running_node import RunningNode, configuration


def test_a_study_stored_by_http_is_answered_by_http(tmp_path: Path, make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """A radiograph posted to the node comes back into Orthanc as SC and report, proven by query, without a single DIMSE message."""
    dicom_port, http_port, stow_port = free_ports(3)
    pacs = OrthancPacs(tmp_path, dicom_port, http_port, "AINODE", 1)
    try:
        settings = configuration(pacs_port=dicom_port, when={"modality": ["CR", "DX"], "calling_ae": "GATEWAY"})
        url = f"http://{LOOPBACK}:{http_port}/dicom-web"
        settings["reception"]["stow"] = {"port": stow_port, "calling_ae": "GATEWAY"}
        settings["archives"] = {"pacs": {"kind": "dicomweb", "base_url": url, "calling_ae": "NOBODY"}}
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
