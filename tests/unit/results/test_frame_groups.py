"""The frames' groups that are laid out by hand are those that pydicom writes and reads."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.core.codes import Code
from dicom_node.results.frame_groups import FrameGroup, add_encoded, per_frame_groups
from dicom_node.results.header import coded

PURPOSE, DERIVATION = (
    coded(Code("121322", "DCM", "Source image for image processing operation")),
    coded(Code("113076", "DCM", "Seg")),
)
FRAMES = (
    FrameGroup(1, 1, ("-12.5", "3", "-114.25"), CTImageStorage, "1.2.3", 7),
    FrameGroup(2, 300, ("-12.5", "3.25", "9"), CTImageStorage, "1.2.34", None),
)


def by_pydicom(frame: FrameGroup) -> Dataset:
    group, content, position, named, source, derivation = (Dataset() for _ in range(6))
    content.DimensionIndexValues = [frame.segment, frame.place]
    position.ImagePositionPatient = list(frame.position_mm)
    named.ReferencedSegmentNumber = frame.segment
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = frame.sop_class_uid, frame.sop_instance_uid
    if frame.frame is not None:
        source.ReferencedFrameNumber = frame.frame
    source.PurposeOfReferenceCodeSequence, source.SpatialLocationsPreserved = Items([PURPOSE]), "YES"
    derivation.SourceImageSequence, derivation.DerivationCodeSequence = Items([source]), Items([DERIVATION])
    group.FrameContentSequence, group.PlanePositionSequence = Items([content]), Items([position])
    group.SegmentIdentificationSequence, group.DerivationImageSequence = Items([named]), Items([derivation])
    return group


def test_the_bytes_are_those_of_pydicom() -> None:
    whole = Dataset()
    whole.PerFrameFunctionalGroupsSequence = Items([by_pydicom(frame) for frame in FRAMES])
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, whole)
    assert stream.getvalue()[12:] == per_frame_groups(FRAMES, PURPOSE, DERIVATION).value  # after tag, VR and length


@pytest.mark.parametrize(("names", "patient"), [("ISO_IR 192", "Świątek^Jörg"), ("ISO_IR 100", "Müller^Jörg"), ("", "Miller^Joe")])
def test_what_stands_beside_them_keeps_its_character_set(names: str, patient: str) -> None:
    made = Dataset()
    if names:
        made.SpecificCharacterSet = names
    made.PatientName, made.SOPClassUID, made.SOPInstanceUID = patient, CTImageStorage, "1.2.3"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    add_encoded(made, per_frame_groups(FRAMES, PURPOSE, DERIVATION))
    file = BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    read = pydicom.dcmread(BytesIO(file.getvalue()))
    assert str(read.PatientName) == patient
    assert list(read.PerFrameFunctionalGroupsSequence) == [by_pydicom(frame) for frame in FRAMES]
