"""The conformance statement says what the code does."""

from __future__ import annotations

import re

from dicom_node import conformance

TEXT = conformance.DOCUMENT.read_text(encoding="utf-8")


def test_tables_are_those_of_the_code() -> None:
    """Each table equals what the code renders now (``python -m dicom_node.conformance`` writes them)."""
    assert conformance.rendered(TEXT) == TEXT


def test_every_table_is_in_the_document() -> None:
    """No table is left out."""
    assert set(re.findall(r"<!-- table: ([a-z-]+) -->", TEXT)) == set(conformance.TABLES)


def test_a_changed_table_is_noticed() -> None:
    """A row that is taken out of the document makes it differ from the code."""
    line = next(line for line in TEXT.splitlines() if "Basic Text SR Storage" in line)
    assert conformance.rendered(TEXT.replace(line + "\n", "")) != TEXT.replace(line + "\n", "")


def test_created_objects_of_every_output_are_described() -> None:
    """Each DICOM output's SOP class is named in the section on created objects."""
    section = TEXT[TEXT.index("## 9 Created objects") :]
    words = {
        "secondary_capture": "Secondary Capture",
        "text_report": "Basic Text SR",
        "structured_report": "Comprehensive 3D SR",
        "lung_segmentation": "Segmentation, lungs",
        "saliency_segmentation": "Segmentation, saliency",
        "key_objects": "Key Object Selection",
    }
    assert set(words) == set(conformance.dicom_outputs())
    assert all(word in section for word in words.values())


def test_no_conformance_to_ihe_profiles_is_claimed() -> None:
    """AIR, AIRA and IMR are named only to say that no conformance is claimed."""
    claims = [line for line in TEXT.splitlines() if re.search(r"\b(AIRA|IMR|AIR)\b", line)]
    assert claims
    assert "No conformance to an IHE profile is claimed" in TEXT


def test_every_service_is_named() -> None:
    """What the node does as SCU, SCP, user agent or origin server stands in the overview, and the limits in words."""
    overview = TEXT[TEXT.index("## 1 Overview") : TEXT.index("## 2 ")]
    for service in ("C-FIND", "C-MOVE", "C-GET", "Storage Commitment", "STOW-RS", "QIDO-RS", "WADO-RS", "TLS", "HL7", "FHIR"):
        assert service in overview, service
    assert "web services: none" not in TEXT
    assert "| this caller's limit of open associations exceeded | transient |" in TEXT
