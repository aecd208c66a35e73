"""A document names nothing that its evidence does not list, and the tree that it gets is the tree that it writes."""

from __future__ import annotations

import pytest
from highdicom.sr import EnhancedSR
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.results.sr_document import container, refer, text, unaddressed, with_children

WHO = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime")
STUDY = generate_uid()
SOURCE = Code("121112", "DCM", "Source of Measurement")


def image() -> Dataset:
    bare = Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    bare.SeriesInstanceUID, bare.StudyInstanceUID = generate_uid(), STUDY
    for keyword in WHO:
        setattr(bare, keyword, "")
    return bare


def document(listed: list[Dataset], named: Dataset) -> Dataset:
    why = with_children(text(codes.COMMENT, "a finding"), [refer(SOURCE, named.SOPClassUID, named.SOPInstanceUID, "INFERRED FROM")])
    inner = container(codes.QUALITATIVE_EVALUATIONS, [why])
    root = container(codes.DIAGNOSTIC_IMAGING_REPORT, [text(codes.COMMENT, "first"), inner])
    del root.RelationshipType
    return unaddressed(EnhancedSR, listed, root, (generate_uid(), generate_uid()), "nobody", [])


def test_the_tree_is_written_whole_below_its_root() -> None:
    one = image()
    made = document([one], one)
    assert made.ConceptNameCodeSequence[0].CodeValue == codes.DIAGNOSTIC_IMAGING_REPORT.value
    assert [item.ValueType for item in made.ContentSequence] == ["TEXT", "CONTAINER"]
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID


def test_an_object_that_is_named_deep_in_the_tree_stands_in_the_evidence() -> None:
    with pytest.raises(ValueError, match="not among its evidence"):
        document([image()], image())
