"""Every object about a CT series is valid, names its slices, says SYNTHETIC, and is the same at every building."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_node.core.abstentions import REASONS
from dicom_node.core.artifact import Artifact
from dicom_node.core.findings import Abstention, Findings, NotRead
from dicom_node.core.product import DISCLAIMER, SYNTHETIC
from dicom_node.results import volume_segmentation
from dicom_node.results.context import ResultContext
from dicom_node.results.report_text import report_lines
from dicom_node.results.step import build_results
from tests.factories import ct_results as make
from tests.factories import results_sources
from tests.unit.results.test_objects import ROLES, concept_of, judged, opened, walk

MESSAGES = ("diagnostic_report", "oru_message")
PICTURES = ["secondary_capture", "secondary_capture#2", "secondary_capture#3"]


@pytest.fixture(scope="module")
def automatic(tmp_path_factory: pytest.TempPathFactory) -> ResultContext:
    """A study whose slices were chosen automatically, with everything built."""
    return make.finished(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def built(automatic: ResultContext) -> dict[str, Artifact]:
    """Everything that is made of it, by role."""
    return {a.role: a for a in build_results(automatic, (*ROLES, *MESSAGES))}


def test_every_object_is_valid(built: dict[str, Artifact], tmp_path: Path) -> None:
    """dciodvfy finds no error in any object, three pictures included."""
    objects = tuple(a for a in built.values() if a.kind not in MESSAGES)
    errors = judged(objects, tmp_path)
    assert errors == {a.role: [] for a in objects}
    assert [role for role in errors if role.startswith("secondary_capture")] == PICTURES
    assert "key_objects" not in errors  # gray: nobody is alarmed


def test_every_object_of_an_enhanced_ct_is_valid(tmp_path: Path) -> None:
    """A multi-frame source is named with its frame numbers wherever a slice is meant."""
    made = build_results(make.finished(tmp_path, how="marked", enhanced=True), ROLES)
    assert judged(made, tmp_path) == {a.role: [] for a in made}
    by_role = {a.role: opened(a) for a in made}
    assert {a.role for a in made} >= {*ROLES, *PICTURES}
    pictures = [by_role[role].SourceImageSequence[0].ReferencedFrameNumber for role in PICTURES]
    assert pictures == [k + 1 for k in make.READ[:3]]
    frame = by_role["lung_segmentation"].PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert frame.ReferencedFrameNumber >= 1


def test_key_slices_are_one_series_and_the_highest_comes_first(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """Three objects, numbered 1 to 3, each of its own slice, none of which is one of another's."""
    pictures = [opened(built[role]) for role in PICTURES]
    assert len({p.SeriesInstanceUID for p in pictures}) == 1
    assert [p.InstanceNumber for p in pictures] == [1, 2, 3]
    named = [p.SourceImageSequence[0].ReferencedSOPInstanceUID for p in pictures]
    assert named == [p.sop_instance_uid for p in automatic.findings.pictures]
    assert all(p.PatientOrientation == ["L", "P"] for p in pictures)
    assert len({p.PixelData for p in pictures}) == 3


def test_everything_says_that_the_model_is_synthetic(built: dict[str, Artifact]) -> None:
    """Picture, masks, reports, FHIR and HL7 repeat it: nobody takes a figure of such a model for a patient's."""
    objects = {role: opened(artifact) for role, artifact in built.items() if role not in MESSAGES}
    assert all(", SYNTHETIC (RUO)" in ds.SeriesDescription for ds in objects.values())
    for role in ("lung_segmentation", "saliency_segmentation"):
        for segment in objects[role].SegmentSequence:
            assert segment.SegmentLabel.startswith("SYNTHETIC: ")
            assert SYNTHETIC in segment.SegmentDescription
    assert all(SYNTHETIC in opened(built[role]).ImageComments for role in PICTURES)
    for role in ("text_report", "structured_report"):
        assert any(SYNTHETIC in item.get("TextValue", "") for item in walk(opened(built[role])))
    report = json.loads(built["diagnostic_report"].data)
    for entry in report["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "Observation":
            assert SYNTHETIC in [note["text"] for note in resource["note"]]
        if resource["resourceType"] == "DiagnosticReport":
            assert SYNTHETIC in resource["conclusion"]
    assert SYNTHETIC in built["oru_message"].data.decode()


@pytest.mark.parametrize("synthetic", [True, False])
def test_masks_of_a_radiograph_say_it_too_and_only_where_it_is_so(synthetic: bool, tmp_path: Path) -> None:
    """In the list of series and in the list of segments; what they are worth stands in each segment."""
    made = results_sources.finished(tmp_path)
    bundles = tuple(dataclasses.replace(one, synthetic=synthetic) for one in made.findings.bundles)
    made = dataclasses.replace(made, findings=dataclasses.replace(made.findings, bundles=bundles))
    masks = build_results(made, ("lung_segmentation", "saliency_segmentation"))
    assert judged(masks, tmp_path) == {a.role: [] for a in masks}
    for ds in map(opened, masks):
        segments = list(ds.SegmentSequence)
        assert {"SYNTHETIC" in text for text in (ds.SeriesDescription, *(s.SegmentLabel for s in segments))} == {synthetic}
        assert {SYNTHETIC in s.SegmentDescription for s in segments} == {synthetic}
        assert all(DISCLAIMER in s.SegmentDescription for s in segments)
    assert len(masks) == 2


def test_the_report_has_a_number_for_each_slice(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """One group a slice that was read: its probability, its image, how it was chosen; and every NUM lies on an image."""
    root = opened(built["structured_report"])
    groups = [item for item in walk(root) if item.ValueType == "CONTAINER" and concept_of(item) == "125007"]
    slices = [g for g in groups if any(v.startswith("AI slice") for v in texts(g))]
    assert len(slices) == len(make.READ)
    for group, score in zip(slices, automatic.findings.slices, strict=True):
        number = next(item for item in group.ContentSequence if item.ValueType == "NUM")
        assert float(number.MeasuredValueSequence[0].NumericValue) == pytest.approx(score.probability)
        images = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in walk(group) if i.ValueType == "IMAGE"}
        assert images == {score.sop_instance_uid}
        assert "SLICE-AUTO" in [i.ConceptCodeSequence[0].CodeValue for i in group.ContentSequence if i.ValueType == "CODE"]
    for item in walk(root):
        if item.ValueType == "NUM":
            assert any(child.ValueType == "SCOORD" for child in walk(item))


def texts(item: Dataset) -> list[str]:
    return [str(child.get("TextValue", "")) for child in walk(item)]


def test_what_was_read_and_why_is_told(automatic: ResultContext) -> None:
    """Series with its reason, number of slices and how they were chosen, each slice's number, what was left."""
    lines = "\n".join(report_lines(automatic))
    assert make.WHY[1:] in lines
    assert "The model read 5 slices of the 24 images of the series, chosen automatically." in lines
    assert "series 1, image 15: 0.90" in lines
    assert REASONS["localizer"].text in lines


def test_the_lungs_are_where_the_images_are(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """highdicom reads the Segmentation back: right and left on each image as they were found, and no slice without lung."""
    made = opened(built["lung_segmentation"])
    seg = hd.seg.Segmentation.from_dataset(made)
    assert [seg.get_segment_description(n).segment_label for n in (1, 2)] == ["SYNTHETIC: Right lung", "SYNTHETIC: Left lung"]
    lungs = automatic.findings.lung_volume
    assert lungs is not None
    uids = [uid for uid, _ in lungs.slices]
    found = seg.get_pixels_by_source_instance(uids, combine_segments=False, assert_missing_frames_are_empty=True)
    wanted = np.stack([np.stack([lungs.at(n) == value for value in (2, 3)], axis=-1) for n in range(len(uids))])
    assert np.array_equal(found.astype(bool), wanted)
    with_lung = sum(bool((lungs.at(n) == value).any()) for n in range(len(uids)) for value in (2, 3))
    assert with_lung == made.NumberOfFrames < 2 * len(uids)
    axial = {i.sop_instance_uid: i.facts for i in automatic.study.instances}
    for frame in made.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        written = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        assert written == pytest.approx(axial[source].image_position_mm)


def test_a_segmentation_stays_of_a_size_that_archives_take(automatic: ResultContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit slices are left out evenly, and the object says so."""
    monkeypatch.setattr(volume_segmentation, "MOST_BYTES", 9000)
    (small,) = build_results(make.context(automatic.findings, automatic.study.instances), ("lung_segmentation",))
    made = opened(small)
    assert len(made.PixelData) <= 9000
    assert "one slice of" in made.ContentDescription


def test_the_volume_of_each_lung_is_told(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """Voxels times their size, in cubic centimetres, side by side with the drawn masks."""
    numbers = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in walk(opened(built["structured_report"]))
        if item.ValueType == "NUM" and concept_of(item) == "118565006"
    ]
    drawn = make.phantom()
    voxel = float(np.prod(drawn.spacing_mm)) / 1000
    assert numbers == pytest.approx([(drawn.lungs == side).sum() * voxel for side in (1, 2)], abs=0.06)


def test_fhir_has_a_component_for_each_slice(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """The class's observation lists them with the image; the imaging study lists the slices that were read, and no other."""
    resources = [entry["resource"] for entry in json.loads(built["diagnostic_report"].data)["entry"]]
    found = next(r for r in resources if r["resourceType"] == "Observation" and r["code"]["coding"][0]["code"] == "263654008")
    scores = automatic.findings.slices
    assert [c["valueQuantity"]["value"] for c in found["component"]] == [round(s.probability, 4) for s in scores]
    assert all(s.sop_instance_uid in c["code"]["text"] for s, c in zip(scores, found["component"], strict=True))
    whole = next(r for r in resources if r["resourceType"] == "DiagnosticReport")
    assert whole["code"]["coding"][0]["code"] == "AI-CT-RESULT"
    study = next(r for r in resources if r["resourceType"] == "ImagingStudy")
    assert study["numberOfInstances"] == make.SLICES + 2
    listed = {i["uid"] for series in study["series"] for i in series.get("instance", ())}
    assert listed == {s.sop_instance_uid for s in scores}


def test_hl7_names_the_chest_ct(built: dict[str, Artifact]) -> None:
    """OBR-4 and the text's OBX-3 are the CT's own code; one OBX a class."""
    segments = built["oru_message"].data.decode().split("\r")
    assert next(s for s in segments if s.startswith("OBR")).split("|")[4].startswith("AI-CT-RESULT^")
    assert [s.split("|")[4] for s in segments if s.startswith("OBX")] == ["RESULT", "ADENOCARCINOMA", "TEXT"]


def test_the_same_inputs_give_the_same_bytes(built: dict[str, Artifact], automatic: ResultContext) -> None:
    """A second building from the same findings gives byte-identical objects."""
    again = build_results(make.context(automatic.findings, automatic.study.instances), (*ROLES, *MESSAGES))
    assert {a.role: a.sha256 for a in again} == {role: a.sha256 for role, a in built.items()}


def test_images_left_for_one_reason_are_one_line(tmp_path: Path) -> None:
    """A refused series of 24 slices is one item in the report, in the name of its first image, not 24."""
    instances = make.received(tmp_path)
    left = tuple(NotRead(i.sop_instance_uid, "short_coverage", "12.0 cm") for i in instances if i.facts.image_position_mm)
    refusal = Findings("ct_made_up", not_read=left, abstention=Abstention("short_coverage", "12.0 cm"))
    (report,) = build_results(make.context(refusal, instances), ("structured_report",))
    assert judged((report,), tmp_path) == {"structured_report": []}
    items = [item for item in walk(opened(report)) if item.ValueType == "CODE" and concept_of(item) == "NOT-READ"]
    assert len(items) == len({i.series_instance_uid for i in instances if i.facts.image_position_mm})
    assert any("(24 images)" in line for line in texts(opened(report)))
    assert _procedure(opened(report)) == "169069000"


def _procedure(root: Dataset) -> Any:
    found: Iterator[Dataset] = (item for item in root.ContentSequence if concept_of(item) == "121058")
    return next(found).ConceptCodeSequence[0].CodeValue
