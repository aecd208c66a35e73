"""Every created object is valid, complete and the same at every building."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.core import codes
from dicom_node.core.artifact import Artifact
from dicom_node.core.findings import NotRead, Zone
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.imaging.header import read_facts
from dicom_node.results.outputs.secondary_capture import caption
from dicom_node.results.report_text import report_lines
from dicom_node.results.step import build_results
from tests.factories import results_sources as make
from tests.factories.dicom_validators import dciodvfy_errors, dsrdump

ROLES = (
    "secondary_capture",
    "text_report",
    "structured_report",
    "structured_report:ohif_text",
    "structured_report:ohif_roi",
    "lung_segmentation",
    "lung_segmentation:plane",
    "saliency_segmentation",
    "saliency_segmentation:plane",
    "key_objects",
)
DOCUMENTS = ("text_report", "structured_report", "key_objects")


def opened(artifact: Artifact) -> Dataset:
    return pydicom.dcmread(BytesIO(artifact.data))


def walk(item: Dataset) -> Any:
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def concept_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def judged(artifacts: tuple[Artifact, ...], folder: Path) -> dict[str, list[str]]:
    """Return the errors by role, and have every document read by DCMTK."""
    errors = {}
    for artifact in artifacts:
        path = folder / f"{artifact.role.replace(':', '-')}.dcm"
        path.write_bytes(artifact.data)
        errors[artifact.role] = dciodvfy_errors(path)
        if artifact.kind in DOCUMENTS:
            assert "CONTAINER" in dsrdump(path)
    return errors


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"sop_class": make.CR},
        {"sop_class": make.CR, "PixelSpacing": [0, 0]},
        {"BodyPartExamined": "CHEST PA"},
        {"charset": ["", "ISO 2022 IR 87"], "name": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
        {"strip": ("PatientOrientation", "PixelSpacing", "BodyPartExamined", "ViewPosition", "StudyDescription")},
        {
            "strip": (
                "PatientName",
                "PatientBirthDate",
                "PatientSex",
                "PatientAge",
                "AccessionNumber",
                "StudyDate",
                "StudyTime",
                "StudyID",
            )
        },
        {"LossyImageCompression": "01", "LossyImageCompressionRatio": "8", "LossyImageCompressionMethod": "ISO_10918_1"},
        {"RequestAttributesSequence": [], "OtherPatientIDsSequence": [], "ProcedureCodeSequence": []},
    ],
    ids=[
        "dx",
        "cr",
        "spacing-zero",
        "body-part-outside-the-terms",
        "japanese",
        "stripped-image-tags",
        "stripped-identity",
        "lossy",
        "empty-sequences",
    ],
)
def test_every_object_of_an_analysed_image_is_valid(tmp_path: Path, elements: dict[str, Any]) -> None:
    """dciodvfy finds no error in any object, and DCMTK reads every document."""
    artifacts = build_results(make.finished(tmp_path, **elements), ROLES)
    assert [a.role for a in artifacts if a.role not in ROLES] == []
    assert len(artifacts) == len(ROLES)
    assert judged(artifacts, tmp_path) == {role: [] for role in ROLES}


def test_the_validator_notices_an_error(tmp_path: Path) -> None:
    """An object without its conversion type is called wrong: silence of the validator means something."""
    (sc,) = build_results(make.finished(tmp_path), ("secondary_capture",))
    broken = opened(sc)
    del broken.ConversionType
    broken.save_as(tmp_path / "broken.dcm")
    assert dciodvfy_errors(tmp_path / "broken.dcm")


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """A second building in another process gives byte-identical objects."""
    program = (
        "import hashlib, pathlib, sys\n"
        "from tests.factories import results_sources as make\n"
        "from dicom_node.results.step import build_results\n"
        "from tests.unit.results.test_objects import ROLES\n"
        "made = build_results(make.finished(pathlib.Path(sys.argv[1])), ROLES)\n"
        "print('\\n'.join(f'{a.role} {a.sha256}' for a in made))\n"
    )
    here = build_results(make.finished(tmp_path), ROLES)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [f"{a.role} {hashlib.sha256(a.data).hexdigest()}" for a in here]


def test_a_new_revision_is_a_new_object_that_names_the_old(tmp_path: Path) -> None:
    """Another run key gives other UIDs; the reports name the reports they replace, the picture says so."""
    first = make.finished(tmp_path)
    old = {a.role: a for a in build_results(first, ROLES)}
    replaced = tuple((old[r].sop_class_uid, old[r].identifier, r) for r in ("text_report", "structured_report"))
    run = dataclasses.replace(first.run, run_key="rn_fedcba9876543210", revision=2, predecessor=first.run.run_key)
    second = dataclasses.replace(first, run=run, predecessors=replaced, built={})
    new = {a.role: a for a in build_results(second, ROLES)}
    assert {a.identifier for a in new.values()}.isdisjoint(a.identifier for a in old.values())
    for role in ("text_report", "structured_report"):
        item = opened(new[role]).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
        assert item.SeriesInstanceUID == opened(old[role]).SeriesInstanceUID
        assert item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old[role].identifier
    assert judged(tuple(new.values()), tmp_path) == {role: [] for role in ROLES}
    assert any("Result 2, replaces 1." in line for line in report_lines(second))
    assert any("Result 2, replaces 1." in line for line in caption(second).lines)  # burned in
    assert opened(new["secondary_capture"]).pixel_array.shape[0] == opened(old["secondary_capture"]).pixel_array.shape[0]


def test_objects_say_what_they_are(tmp_path: Path) -> None:
    """Our product's name, research use, modality OT, high series numbers, and a list of software versions are in every object."""
    made = {a.role: opened(a) for a in build_results(make.finished(tmp_path), ROLES)}
    for role, ds in made.items():
        assert ds.ManufacturerModelName == PRODUCT_NAME, role
        assert read_facts(ds).made_by_this_node, role
        assert ds.SeriesDescription.startswith("AI "), role
        assert ds.SeriesDescription.endswith("(RUO)"), role
        assert ds.SeriesNumber > 9000, role
        assert list(ds.SoftwareVersions)[1:] == ["cxr_tb@1.0.0", "lungs_cxr@1.0.0"], role
        assert [e.ManufacturerModelName for e in ds.ContributingEquipmentSequence] == ["cxr_tb", "lungs_cxr"], role
        assert ds.file_meta.ImplementationVersionName.startswith("DICOMNODE"), role
    assert made["secondary_capture"].Modality == "OT"
    assert len({ds.SeriesInstanceUID for ds in made.values()}) == len(ROLES)


def test_other_model_bytes_are_another_device(tmp_path: Path) -> None:
    """The Device UID changes with the bundle's hash and with nothing else."""
    context = make.finished(tmp_path)
    other = dataclasses.replace(make.BUNDLE, sha256="01" * 32)
    changed = dataclasses.replace(
        context, findings=dataclasses.replace(context.findings, bundles=(other, make.LUNG_BUNDLE)), built={}
    )
    first, second = (opened(build_results(c, ("text_report",))[0]).ContributingEquipmentSequence for c in (context, changed))
    assert first[0].DeviceUID != second[0].DeviceUID
    assert first[1].DeviceUID == second[1].DeviceUID


@pytest.mark.parametrize("zone", list(Zone))
def test_only_flagged_studies_get_key_objects(tmp_path: Path, zone: Zone) -> None:
    """A Key Object Selection is made of a suspected study only; it names the image and the picture, titled Of Interest."""
    made = {a.role: a for a in build_results(make.finished(tmp_path, zone=zone), ROLES)}
    assert ("key_objects" in made) == (zone is Zone.SUSPECTED)
    if zone is Zone.SUSPECTED:
        note = opened(made["key_objects"])
        named = {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in note.ContentSequence if i.ValueType == "IMAGE"}
        assert note.ConceptNameCodeSequence[0].CodeValue == codes.OF_INTEREST.value
        assert made["secondary_capture"].identifier in named
        assert len(named) == 2


def test_every_measurement_has_coordinates(tmp_path: Path) -> None:
    """Each NUM of the measurement report is inferred from a closed polyline on the image, and each group holds one."""
    made = {a.role: opened(a) for a in build_results(make.finished(tmp_path), ROLES)}
    for role in ("structured_report", "structured_report:ohif_roi"):
        report = made[role]
        assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
        groups = [i for i in walk(report) if concept_of(i) == "125007"]
        assert len(groups) == 2
        for group in groups:
            numbers = [i for i in group.ContentSequence if i.ValueType == "NUM"]
            assert numbers
            for number in numbers:
                points = list(number.ContentSequence[0].GraphicData)
                assert points[:2] == points[-2:]
    assert made["structured_report:ohif_text"].ConceptNameCodeSequence[0].CodeValue == "18748-4"


def test_the_drawn_region_is_that_of_the_map(tmp_path: Path) -> None:
    """The flavour for drawing names its tracking identifier for the viewer and lies where the map is at least half its maximum."""
    context = make.finished(tmp_path)
    (artifact,) = build_results(context, ("structured_report:ohif_roi",))
    group = next(i for i in walk(opened(artifact)) if concept_of(i) == "125007")
    tracking = next(i for i in group.ContentSequence if concept_of(i) == "112039").TextValue
    number = next(i for i in group.ContentSequence if i.ValueType == "NUM")
    points = list(number.ContentSequence[0].GraphicData)
    saliency = context.saliency
    assert saliency is not None
    assert tracking.endswith("PlanarFreehandROI")
    for x, y in zip(points[::2], points[1::2], strict=True):
        assert saliency.values[int(y), int(x)] >= 0.4 * saliency.values.max()


def test_the_report_carries_numbers_decision_policy_and_caveats(tmp_path: Path) -> None:
    """Numbers, decision, not-assessed classes, policy, guarantee, flag, evidence and disclaimer are all in the tree."""
    context = make.finished(tmp_path)
    (artifact,) = build_results(context, ("structured_report",))
    items = list(walk(opened(artifact)))
    numbers = {concept_of(i): float(i.MeasuredValueSequence[0].NumericValue) for i in items if i.ValueType == "NUM"}
    assert numbers == {"122157": 0.871235, "THRESHOLD": 0.62, "THRESHOLD-LOW": 0.31, "THRESHOLD-HIGH": 0.8}
    coded = {(concept_of(i), i.ConceptCodeSequence[0].CodeValue) for i in items if i.ValueType == "CODE"}
    assert {("DECISION", "POS"), ("121402", "263654008"), ("56717001", "NOT-ASSESSED"), ("233604007", "NOT-ASSESSED")} <= coded
    words = " ".join(i.TextValue for i in items if i.ValueType == "TEXT")
    for expected in (
        "screening",
        make.POLICY.guarantee,
        "low_resolution",
        "cxr_tb@1.0.0: demo",
        "RESEARCH USE ONLY",
        "UNVALIDATED MODEL",
        "ab" * 32,
    ):
        assert expected in words


def test_the_map_is_referred_to_by_its_method(tmp_path: Path) -> None:
    """The visual explanation names the Segmentation when built, else the picture, and Grad-CAM as its method."""
    for roles, target in (
        (("secondary_capture", "saliency_segmentation", "structured_report"), "saliency_segmentation"),
        (("secondary_capture", "structured_report"), "secondary_capture"),
    ):
        made = {a.role: a for a in build_results(make.finished(tmp_path), roles)}
        item = next(i for i in walk(opened(made["structured_report"])) if concept_of(i) == codes.VISUAL_EXPLANATION.value)
        assert item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == made[target].identifier
        assert item.ContentSequence[0].ConceptCodeSequence[0].CodeValue == codes.GRAD_CAM.value


def test_an_all_zero_map_gives_no_segmentation_and_is_named_so(tmp_path: Path) -> None:
    """A map without positive evidence is never stretched into a region."""
    instance = make.stored(make.radiograph(), tmp_path)
    context = make.context(make.analysed(instance, evidence=False), instance)
    made = {a.role: a for a in build_results(context, ROLES)}
    assert "saliency_segmentation" not in made
    assert any("no positive evidence" in line for line in report_lines(context))
    assert judged(tuple(made.values()), tmp_path) == {role: [] for role in made}


def test_images_that_were_not_read_are_named_with_their_reason(tmp_path: Path) -> None:
    """A lateral and a report in the study stand in the tree with code, words and a reference of the right kind."""
    image = make.stored(make.radiograph(), tmp_path)
    lateral = make.stored(make.radiograph(instance=2), tmp_path)
    report = make.stored(make.radiograph(instance=3, sop_class=make.BASIC_TEXT_SR, Modality="SR"), tmp_path)
    left = (
        NotRead(lateral.sop_instance_uid, "not_frontal", "View Position is LL."),
        NotRead(report.sop_instance_uid, "unsupported_object"),
    )
    context = make.context(make.analysed(image, not_read=left), image, lateral, report)
    made = build_results(context, ("structured_report", "text_report"))
    assert judged(made, tmp_path) == {"structured_report": [], "text_report": []}
    tree = opened(next(a for a in made if a.role == "structured_report"))
    items = [i for i in walk(tree) if concept_of(i) == codes.IMAGE_NOT_READ.value]
    assert [i.ConceptCodeSequence[0].CodeValue for i in items] == ["NOT-FRONTAL", "110522"]
    assert [i.ContentSequence[1].ValueType for i in items] == ["IMAGE", "COMPOSITE"]


def test_segmentation_frames_hold_the_mask_on_the_source_grid(tmp_path: Path) -> None:
    """The lung Segmentation read back is the mask, pixel for pixel; the levels are nested."""
    context = make.finished(tmp_path, rows=300, columns=260)
    made = {a.role: opened(a) for a in build_results(context, ROLES)}
    lungs, saliency = context.findings.lungs, context.saliency
    assert lungs is not None
    assert saliency is not None
    assert (made["lung_segmentation"].pixel_array == lungs.values).all()
    levels = made["saliency_segmentation"].pixel_array
    for frame, share in zip(levels, (0.25, 0.5, 0.75), strict=True):
        assert (frame == (saliency.values >= share * saliency.values.max())).all()
    assert "PlaneOrientationSequence" not in made["lung_segmentation"].SharedFunctionalGroupsSequence[0]
    assert "PlaneOrientationSequence" in made["lung_segmentation:plane"].SharedFunctionalGroupsSequence[0]


def test_unknown_kinds_and_variants_are_named(tmp_path: Path) -> None:
    """A wrong role is answered with what there is."""
    context = make.finished(tmp_path)
    with pytest.raises(LookupError, match="text_report"):
        build_results(context, ("text_reprt",))
    with pytest.raises(LookupError, match="ohif_text"):
        build_results(context, ("structured_report:ohif",))
