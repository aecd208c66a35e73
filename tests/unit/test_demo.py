"""The demo's settings."""

from __future__ import annotations

from pathlib import Path

from dicom_node.config.load import load_settings
from dicom_node.demo.configuration import ACCEPT_AE, WORKSTATION_AE, write_configuration
from dicom_node.demo.peers import LOOPBACK


def test_the_demo_is_a_node_that_takes_one_radiologists_answers(tmp_path: Path) -> None:
    write_configuration(tmp_path, dicom_port=1, web_port=2, pacs_port=3, fhir_port=4, hl7_port=5)
    settings = load_settings(tmp_path / "node.yaml")
    answer_ae = settings.feedback.answer_ae
    assert answer_ae.accept == ACCEPT_AE
    assert [(caller.ae_title, caller.host) for caller in answer_ae.callers] == [(WORKSTATION_AE, LOOPBACK)]
    assert [(one.role, one.ae_titles) for one in settings.readers] == [("radiologist", (WORKSTATION_AE,))]
