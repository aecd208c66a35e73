"""A PACS that is not polite, and a node that is as it should be: its own processes, real associations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydicom import Dataset

from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph
from tests.factories.deliverables import SECONDARY_CAPTURE
from tests.factories.quirky_peers import quirky_pacs
from tests.factories.rejection_notes import rejection_note
from tests.integration.running_node import RunningNode, configuration

OUTPUTS = ("secondary_capture", "text_report", "structured_report", "lung_segmentation")
IMAGE, _, _ = chest_phantom(seed=5, size=512)


def chest() -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(IMAGE, seed="quirky", modality="CR")


def test_a_pacs_that_coerces_refuses_repeats_and_forwards(make_node: Callable[[dict[str, Any]], RunningNode]) -> None:
    """It changes our Patient ID (B000), refuses SR and SEG, sends all twice and our objects back: one result, each thing told.

    Then it rejects the image, and refuses the note that takes our object back: parked and told.
    """
    with quirky_pacs(0xB000, (SECONDARY_CAPTURE,), ae_title="DEMOPACS", coerced="CHANGED") as pacs:
        node = make_node(configuration(pacs_port=pacs.port, outputs=OUTPUTS))
        image = chest()
        uid = str(image.StudyInstanceUID)
        pacs.send_all_twice(node.port, node.ae_title, image)
        story = node.wait_until_answered(uid)
        assert {(d["role"], d["state"]) for d in story["deliveries"]} == {
            ("secondary_capture", "done_with_warning"),
            *((role, "dead") for role in OUTPUTS[1:]),
        }
        assert [d.PatientID for d in pacs.stored] == ["CHANGED"]

        pacs.send_all_twice(node.port, node.ae_title, image)  # now our own object with another patient among them
        story = node.wait_until(uid, lambda s: s["deadline_utc"] is None)
        assert sorted(i["state"] for i in story["instances"]) == ["current", "ours"]
        assert (story["state"], story["revision"], len(story["runs"])) == ("routed", 1, 1)
        assert len(pacs.stored) == 1

        pacs.send_all_twice(node.port, node.ae_title, rejection_note(image, [image]))
        story = node.wait_until(
            uid, lambda s: any(d["role"] == "withdrawal_note" and d["state"] == "dead" for d in s["deliveries"])
        )
        assert [run["state"] for run in story["runs"]] == ["withdrawn"]
        story = node.wait_until(uid, lambda s: s["state"] == "held")
        assert story["hold_reason"] == "images_rejected"
        told = [line["text"] for line in story["story"]]
        assert any("Not delivered: withdrawal note to pacs" in text and "Key Object Selection" in text for text in told)
        assert not any("CHANGED" in text or str(image.PatientID) in text for text in told)
        assert "CHANGED" not in node.log()
