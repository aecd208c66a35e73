"""How the node behaves in a department, sentence by sentence: real rooms and the shipped models, in one process."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGLSLossless

from dicom_node.core.errors import UsageError
from models.phantoms.cxr import chest_phantom
from models.phantoms.dicom import as_radiograph, made_uid
from models.phantoms.other_views import abdomen, lateral
from tests.integration.in_process import InProcessNode, reasons

NORMAL, _, _ = chest_phantom(seed=3, size=768)
ABNORMAL, _, _ = chest_phantom(seed=3, size=768, abnormal=True)
LATERAL = lateral(3)
PICTURES = ("secondary_capture", "text_report")
TWO = {"outputs": list(PICTURES)}


def chest(image: NDArray[np.float32] = NORMAL, seed: str = "clinic", **elements: object) -> Dataset:
    """Return one frontal radiograph of an adult."""
    return as_radiograph(image, seed=seed, modality="CR", **elements)


def companion(number: int, description: str, **elements: object) -> Dataset:
    """Return another picture of the same exposure, derived from the first."""
    source = chest()
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return chest(
        instance=f"companion{number}",
        SeriesInstanceUID=made_uid("clinic", "series", str(number)),
        SeriesDescription=description,
        ImageType=["DERIVED", "SECONDARY"],
        SourceImageSequence=Sequence([reference]),
        **elements,
    )


def document(sop_class_uid: str, modality: str, name: str) -> Dataset:
    """Return an object of the study without pixels."""
    ds = chest(instance=name)
    for keyword in (
        "PixelData",
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
    ):
        delattr(ds, keyword)
    ds.SOPClassUID, ds.Modality = sop_class_uid, modality
    ds.SeriesInstanceUID = made_uid("clinic", name)
    return ds


def test_late_lateral_presentation_state_and_dose_report_change_nothing(tmp_path: Path) -> None:
    """PA answered, then a lateral, a presentation state and a dose SR: still one SC and one SR."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.answer(chest())
    assert node.sent() == ["secondary_capture", "text_report"]
    late = chest(
        LATERAL, instance="lateral", ViewPosition="LL", SeriesInstanceUID=made_uid("clinic", "lateral"), SeriesDescription="Lateral"
    )
    for item in (
        late,
        document("1.2.840.10008.5.1.4.1.1.11.1", "PR", "state"),
        document("1.2.840.10008.5.1.4.1.1.88.67", "SR", "dose"),
    ):
        story = node.answer(item)
    assert node.sent() == ["secondary_capture", "text_report"]
    assert len(story["runs"]) == 1
    assert any("changes none of the images read" in line["text"] for line in story["story"])


def test_five_companions_give_one_result_and_four_reasons(tmp_path: Path) -> None:
    """Five pictures of one exposure: one SC, one SR, and a reason for each of the four that are not read."""
    node = InProcessNode(tmp_path, destination=TWO)
    story = node.answer(
        chest(),
        companion(1, "Chest PA bone suppressed"),
        companion(2, "Chest PA dual energy soft tissue"),
        companion(3, "Chest PA inverted"),
        companion(4, "Chest PA annotated"),
    )
    assert node.sent() == ["secondary_capture", "text_report"]
    assert len(list(reasons(story))) == 4
    assert story["runs"][-1]["summary"]["status"] == "analysed"


def test_for_presentation_beats_for_processing(tmp_path: Path) -> None:
    """Of the two twins of one exposure the For Presentation image is read; the other is named with its reason."""
    node = InProcessNode(tmp_path, destination=TWO)
    shown = as_radiograph(NORMAL, seed="twin")
    raw = as_radiograph(NORMAL, seed="twin", instance="raw", PresentationIntentType="FOR PROCESSING")
    raw.SOPClassUID = raw.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1.1"
    story = node.answer(raw, shown)
    assert list(reasons(story)) == ["for_processing"]
    assert node.sent() == ["secondary_capture", "text_report"]


def test_a_lossless_twin_runs_nothing(tmp_path: Path) -> None:
    """The same image recompressed without loss under the same UID runs nothing."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.answer(chest())
    twin = chest()
    twin.compress(JPEGLSLossless, generate_instance_uid=False)
    story = node.answer(twin)
    assert len(story["runs"]) == 1
    assert story["revision"] == 1
    assert node.sent() == ["secondary_capture", "text_report"]


def test_a_corrected_patient_id_makes_result_two_with_new_uids(tmp_path: Path) -> None:
    """Same pixels, other Patient ID: revision 2, new UIDs, the SR names its predecessor, the overlay says what it replaces."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.answer(chest(PatientID="WRONG"))
    first = {d.Modality: d for d in node.sent_dicom()}
    story = node.answer(chest(PatientID="RIGHT"))
    assert [run["revision"] for run in story["runs"]] == [1, 2]
    second = {d.Modality: d for d in node.sent_dicom() if d.PatientID == "RIGHT"}
    assert set(second) == set(first) == {"OT", "SR"}
    assert all(second[m].SOPInstanceUID != first[m].SOPInstanceUID for m in first)
    predecessor = second["SR"].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first["SR"].SOPInstanceUID
    assert "replaces 1" in second["SR"].to_json()


def test_changed_pixels_hold_the_study(tmp_path: Path) -> None:
    """Other pixels under the same UID: the study is held, nothing more is sent."""
    node = InProcessNode(tmp_path, destination=TWO)
    node.answer(chest())
    story = node.answer(chest(ABNORMAL))
    assert (story["state"], story["hold_reason"]) == ("held", "changed_pixels")
    assert len(node.sent()) == 2
    assert any("A result was given before" in line["text"] for line in story["story"])
    node.release(story["study_key"])  # the person has looked: the changed image counts, and what was said of the old one does not
    story = node.story(str(chest().StudyInstanceUID))
    assert [run["state"] for run in story["runs"]] == ["withdrawn", "analysed"]
    assert node.sent() == ["secondary_capture", "secondary_capture", "text_report", "text_report", "withdrawal_note"]


def test_two_patients_in_one_study_are_held_and_nothing_is_sent(tmp_path: Path) -> None:
    """Images of two patients under one Study Instance UID: held, nothing sent."""
    node = InProcessNode(tmp_path)
    story = node.answer(chest(PatientID="ONE"), chest(instance="2", PatientID="TWO"))
    assert (story["state"], story["hold_reason"]) == ("held", "patient_conflict")
    assert story["result"]["status"] == "held"
    assert node.sent() == []


def test_a_released_study_is_answered_with_what_the_pacs_corrected(tmp_path: Path) -> None:
    """Two patients in one study: sent again with one patient and released, it is answered for that one; else it is held again."""
    node = InProcessNode(tmp_path, destination=TWO)
    story = node.answer(chest(PatientID="ONE"), chest(instance="2", PatientID="TWO"))
    node.release(story["study_key"])
    assert node.story(str(chest().StudyInstanceUID))["hold_reason"] == "patient_conflict"
    node.answer(chest(instance="2", PatientID="ONE"))
    assert node.sent() == []
    node.release(story["study_key"])
    assert node.sent() == ["secondary_capture", "text_report"]
    assert {d.PatientID for d in node.sent_dicom()} == {"ONE"}
    with pytest.raises(UsageError, match="does not wait for a person"):
        node.release(story["study_key"])


def test_doe_john_is_one_patient(tmp_path: Path) -> None:
    """DOE^JOHN and Doe^John^^ are one patient."""
    node = InProcessNode(tmp_path, destination=TWO)
    story = node.answer(chest(PatientName="DOE^JOHN"), chest(instance="2", PatientName="Doe^John^^"))
    assert story["state"] == "routed"
    assert node.sent() == ["secondary_capture", "text_report"]


@pytest.mark.parametrize(("release", "count"), [("silent", 0), ("after_answer", 0), ("at_once", 8)])
def test_release_decides_what_leaves(tmp_path: Path, release: str, count: int) -> None:
    """silent and after_answer send nothing by themselves, at_once sends all; the result is kept on the node in each case."""
    node = InProcessNode(tmp_path, rule={"release": release})
    story = node.answer(chest(ABNORMAL))
    flagged = "key_objects" in {a["role"] for a in story["artifacts"]}
    assert len(node.sent()) == (count - (not flagged) if count else 0)
    assert story["result"]["status"] == "analysed"


def test_an_unvalidated_model_stays_inside_or_says_so(tmp_path: Path) -> None:
    """Evidence below external: nothing leaves, unless the destination allows it; then every object prints UNVALIDATED MODEL."""
    strict = InProcessNode(tmp_path / "strict", destination={"allow_unvalidated": False})
    story = strict.answer(chest())
    assert strict.sent() == []
    assert {d["state"] for d in story["deliveries"]} == {"withheld"}
    allowed = InProcessNode(tmp_path / "allowed")
    allowed.answer(chest())
    reports = (
        [d.to_json() for d in allowed.sent_dicom() if d.Modality == "SR"] + allowed.sent_text(".json") + allowed.sent_text(".hl7")
    )
    assert len(reports) == 4
    assert all("UNVALIDATED MODEL" in text for text in reports)
    assert all("RESEARCH USE ONLY" in text for text in reports)


def test_five_hundred_studies_of_2019_send_nothing(tmp_path: Path) -> None:
    """500 studies dated 2019 are received, not analysed, and 0 objects are sent."""
    node = InProcessNode(tmp_path, rule={"max_study_age_hours": 48})
    small = NORMAL[::12, ::12]
    studies = [
        chest(small, seed=f"old{n}", StudyDate="20190304", AcquisitionDate="20190304", ContentDate="20190304") for n in range(500)
    ]
    node.receive(*studies)
    node.work()
    stories = [node.story(str(s.StudyInstanceUID)) for s in studies]
    assert Counter(story["hold_reason"] for story in stories) == {"study_too_old": 500}
    assert node.sent() == []


def test_an_unparsable_study_date_is_held(tmp_path: Path) -> None:
    """A study whose age nobody can tell is held."""
    node = InProcessNode(tmp_path, rule={"max_study_age_hours": 48})
    story = node.answer(chest(StudyDate="", AcquisitionDate="", SeriesDate="", ContentDate=""))
    assert story["hold_reason"] == "study_date_unknown"


def test_a_chest_stripped_of_body_part_and_view_is_analysed(tmp_path: Path) -> None:
    """Absent tags are unknown, not false: the pixels decide, and the chest is analysed."""
    node = InProcessNode(tmp_path, rule={"when": {"modality": ["CR", "DX"], "body_part": "CHEST", "view": "PA"}}, destination=TWO)
    story = node.answer(chest(BodyPartExamined=None, ViewPosition=None))
    assert story["result"]["status"] == "analysed"


def test_an_abdomen_tagged_chest_is_refused(tmp_path: Path) -> None:
    """An abdomen whose header says CHEST is refused by its pixels."""
    node = InProcessNode(tmp_path, destination=TWO)
    story = node.answer(chest(abdomen(1)))
    assert story["result"]["status"] == "not_analysed"
    assert story["result"]["reason_key"] in {"not_chest", "lungs_not_found", "not_frontal", "out_of_distribution"}
    assert node.sent() == ["text_report"]


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"PatientBirthDate": "19000101", "PatientAge": None}, "age_unknown"),
        ({"PatientBirthDate": "20990101", "PatientAge": None}, "age_unknown"),
        ({"PatientBirthDate": None, "PatientAge": None}, "age_unknown"),
        ({"PatientBirthDate": "20190101"}, "too_young"),
        ({"PatientBirthDate": None, "PatientAge": "004Y"}, "too_young"),
        ({"ViewPosition": "LL"}, "not_frontal"),
        ({"ViewPosition": "AP"}, "ap_view"),
        ({"BodyPartExamined": "KNEE"}, "not_chest"),
    ],
)
def test_a_refusal_is_coded_and_sent_as_a_report(tmp_path: Path, elements: dict[str, object], reason: str) -> None:
    """No usable image: one coded refusal as SR, never as an image, and it holds no probability."""
    node = InProcessNode(tmp_path)
    story = node.answer(chest(**elements))
    assert story["result"]["reason_key"] == reason
    assert set(node.sent()) == {"text_report", "structured_report", "diagnostic_report", "oru_message"}
    for dataset in node.sent_dicom():
        text = dataset.to_json()
        assert "111245" in text
        assert story["result"]["code"] in text
        assert "122157" not in text  # Probability
    message = node.sent_text(".hl7")[0]
    assert {line.split("|")[11] for line in message.split("\r") if line.startswith("OBX")} == {"X"}
    bundle = json.loads(node.sent_text(".json")[0])
    absent = [e["resource"]["dataAbsentReason"] for e in bundle["entry"] if e["resource"]["resourceType"] == "Observation"]
    assert absent
    assert all(item["coding"][0]["code"] == "not-performed" for item in absent)


@pytest.mark.parametrize(("refusals", "sent"), [("none", 0), ("sr", 4), ("all", 4)])
def test_a_destination_chooses_its_refusals(tmp_path: Path, refusals: str, sent: int) -> None:
    """none sends nothing, sr and all send reports and messages; the story tells the reason in each case."""
    node = InProcessNode(tmp_path, destination={"refusals": refusals})
    story = node.answer(chest(ViewPosition="LL"))
    assert len(node.sent()) == sent
    assert any(line["reason"] == "not_frontal" for line in story["story"])


def test_no_rule_matched_sends_nothing_and_says_why(tmp_path: Path) -> None:
    """No rule: nothing is sent, and the story names each rule's reason."""
    node = InProcessNode(tmp_path, rule={"when": {"modality": ["CT"]}})
    story = node.answer(chest())
    assert (story["state"], story["hold_reason"]) == ("held", "no_rule")
    assert node.sent() == []
    assert any("chest radiographs" in line["text"] for line in story["story"])


def test_a_study_of_reports_only_ends_with_a_reason(tmp_path: Path) -> None:
    """A study with no pixel objects at all ends with a reason, not with silence."""
    node = InProcessNode(tmp_path, rule={"when": {}})
    story = node.answer(document("1.2.840.10008.5.1.4.1.1.88.11", "SR", "report"))
    assert story["result"]["status"] in {"not_analysed", "held"}
    assert story["result"]["reason"]


def test_two_accessions_get_a_message_each(tmp_path: Path) -> None:
    """Grouped procedures: images take the read image's accession number; ORU and FHIR come once per requested procedure."""
    items = []
    for number in ("ACC-1", "ACC-2"):
        item = Dataset()
        item.AccessionNumber, item.RequestedProcedureID, item.RequestedProcedureDescription = number, f"RP-{number}", "Chest"
        item.ScheduledProcedureStepID = f"SPS-{number}"
        items.append(item)
    node = InProcessNode(tmp_path, results={"hl7": {"accession_field": "OBR-18"}})
    node.answer(chest(AccessionNumber="ACC-1", RequestAttributesSequence=Sequence(items)))
    text = node.sent_text(".hl7")[0]
    assert text.count("OBR|") == 2
    assert "ACC-2" in text
    bundle = json.loads(node.sent_text(".json")[0])
    reports = [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport"]
    assert sorted(r["basedOn"][0]["identifier"]["value"] for r in reports) == ["ACC-1", "ACC-2"]
    assert all(d.AccessionNumber == "ACC-1" for d in node.sent_dicom())


def test_the_same_study_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """Two nodes that get the same study make the same SOP Instances."""
    uids = []
    for name in ("a", "b"):
        node = InProcessNode(tmp_path / name)
        node.answer(chest(ABNORMAL))
        uids.append(sorted(str(d.SOPInstanceUID) for d in node.sent_dicom()))
    assert uids[0] == uids[1]
    assert len(uids[0]) >= 5


def test_source_objects_are_never_changed(tmp_path: Path) -> None:
    """What is sent is new; the source's pixels and header stay as received."""
    node = InProcessNode(tmp_path, destination=TWO)
    sent = chest()
    before = deepcopy(sent)
    node.answer(sent)
    assert sent == before
    assert all(d.SOPInstanceUID != sent.SOPInstanceUID for d in node.sent_dicom())
