"""Nothing that names a person survives: each element of PS3.15's table, of the dictionary, private, nested, in the pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import gdcm
import numpy as np
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset, dcmread, dcmwrite
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_node.imaging.pixels import stored_values
from dicom_node.learning import kept_elements as kept
from dicom_node.learning.deidentify import EDITION, METHOD, Person, deidentified
from dicom_node.learning.pseudonyms import Pseudonyms
from models.phantoms.dicom import as_radiograph
from tests.factories.dicom_validators import dciodvfy_errors

NAMES = Pseudonyms(b"k" * 32)
PERSON = Person("pt_1", 10, 93.0)
IMAGE = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(64, 48)
MARKER, MARKED_UID, MARKED_DATE = "ZZMARKER", "1.2.777.1", "19510713"
SECRETS = (MARKER.encode(), MARKER.encode("utf-16-le"), MARKED_UID.encode(), MARKED_DATE.encode())
_FILLING = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), MARKER),
    **dict.fromkeys(("OB", "UN", "OB or OW"), MARKER.encode()),
    "UI": MARKED_UID,
    "DA": MARKED_DATE,
    "DT": f"{MARKED_DATE}101010+0100",
    "IS": MARKED_DATE,
    "AS": "093Y",
}
#: What makes an object a readable image.
_NEEDED = {0x00080016, 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x7FE00008, 0x7FE00009, 0x7FE00010}


def cleaned(source: Dataset) -> tuple[Dataset, bytes]:
    """Return the image without its person, and its file."""
    pixels, _ = stored_values(source)
    made = deidentified(source, pixels, PERSON, NAMES)
    buffer = io.BytesIO()
    dcmwrite(buffer, made, enforce_file_format=True)
    return made, buffer.getvalue()


def filled(tags: Iterator[int]) -> Dataset:
    """Return a radiograph with the marker in each of these elements that can hold text, and once more inside a sequence of each."""
    made, inner = as_radiograph(IMAGE, modality="DX"), Dataset()
    sequences = []
    for tag in tags:
        vr = dictionary_VR(tag)
        if tag in _NEEDED or Tag(tag).group in (0x0000, 0x0002, 0x0028):
            continue
        if vr == "SQ":
            sequences.append(tag)
        elif vr in _FILLING:
            vr, value = vr.partition(" ")[0], _FILLING[vr]
            inner.add(DataElement(tag, vr, value))
            made.add(DataElement(tag, vr, value))
    for tag in sequences:
        made.add(DataElement(tag, "SQ", Sequence([inner])))
    return made


def assert_clean(data: bytes) -> None:
    """No secret in any encoding."""
    assert [secret for secret in SECRETS if secret in data] == []


def test_nothing_of_the_whole_dictionary_leaves() -> None:
    """Every element that the standard knows holds the marker, in the data set and inside every sequence."""
    source = filled(iter(DicomDictionary))
    assert len(source) > 3000, "the marker was not put in"
    made, data = cleaned(source)
    assert_clean(data)
    assert len(made) < 80


def test_every_row_of_the_profile_s_table_is_handled() -> None:
    """Table E.1-1: what of it may be kept, our rules name; and another implementation's list says the same."""
    table = {tag for tag in dicom_anonymization_database_selector(f"dicomfields_{EDITION}")["ALL_TAGS"] if len(tag) == 2}
    other = {
        (tag.GetGroup(), tag.GetElement()) for tag in gdcm.Anonymizer.GetBasicApplicationLevelConfidentialityProfileAttributes()
    }
    assert len(table) > 600
    assert len(other) > 40
    made, _ = cleaned(as_radiograph(IMAGE))
    ruled = {*kept.UIDS, *kept.DATES, *kept.DATETIMES, *kept.TIMES, "TimezoneOffsetFromUTC", "PatientSex", "PatientAge"}
    ruled |= {"PatientName", "PatientID"}
    emptied = {"AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "StudyID", "AcquisitionContextSequence"}
    for element in made:
        if (element.tag.group, element.tag.element) in table | other:
            assert element.keyword in ruled | emptied, f"{element.keyword} of the profile is kept without a rule"
            assert element.keyword in ruled or not element.value, element.keyword


def test_private_elements_overlays_and_what_lies_beside_the_pixels_are_gone() -> None:
    source = as_radiograph(IMAGE, modality="CR", bits_stored=12)
    block = source.private_block(0x0011, MARKER, create=True)
    block.add_new(1, "LO", MARKER)
    source.add_new(0x60003000, "OW", MARKER.encode())
    source.add_new(0x50003000, "OW", MARKER.encode())
    source.add_new(0xFFFCFFFC, "OB", MARKER.encode())
    values = np.frombuffer(source.PixelData, "<u2") | 0xA000  # an overlay of old, in bits that are not stored
    source.PixelData = values.tobytes() + MARKER.encode()
    source.preamble = MARKER.encode().ljust(128, b"\0")
    source.file_meta.SourceApplicationEntityTitle = MARKER
    made, data = cleaned(source)
    assert_clean(data)
    assert (np.frombuffer(made.PixelData, "<u2") < 4096).all()
    assert (stored_values(made)[0] == stored_values(as_radiograph(IMAGE, modality="CR"))[0]).all()


def test_what_has_the_wrong_representation_or_is_no_word_of_the_standard_does_not_leave() -> None:
    source = as_radiograph(IMAGE)
    for keyword in ("ImagerPixelSpacing", "Exposure", "InstanceNumber", "KVP", "StudyTime", "TimezoneOffsetFromUTC", "PatientSex"):
        source[keyword] = DataElement(source.data_element(keyword).tag if keyword in source else keyword, "LO", MARKER)
    for keyword in ("BodyPartExamined", "ViewPosition", "ImageType", "PatientOrientation"):
        source[keyword].value = MARKER
    source.AnatomicRegionSequence[0].CodeMeaning = MARKER
    source.ViewCodeSequence[0].CodeValue = MARKER
    source.SeriesNumber = "19510713"
    made, data = cleaned(source)
    assert_clean(data)
    assert made.AnatomicRegionSequence[0].CodeMeaning == "Chest"
    assert "ViewCodeSequence" not in made
    assert (made.SeriesNumber, made.ViewPosition, made.PatientSex) == (None, None, None) or not any(
        (made.SeriesNumber, made.ViewPosition, made.PatientSex)
    )


def test_what_training_needs_stays_and_the_object_says_what_was_done() -> None:
    source = as_radiograph(IMAGE, StudyDate="20240101", TimezoneOffsetFromUTC="+0530", AcquisitionDateTime="20240101101545.5+0530")
    made, _ = cleaned(source)
    assert made.StudyDate == "20231222"
    assert made.AcquisitionDateTime == "20231222101545.5+0530"
    assert (made.StudyTime, made.TimezoneOffsetFromUTC) == (source.StudyTime, "+0530")
    assert (made.PatientID, made.PatientName, made.PatientAge, made.PatientSex) == ("pt_1", "pt_1", "090Y", "O")
    assert made.StudyInstanceUID == NAMES.uid(source.StudyInstanceUID)
    assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID == NAMES.uid(source.SOPInstanceUID)
    assert (made.ViewPosition, made.ImagerPixelSpacing) == ("PA", source.ImagerPixelSpacing)
    assert [item.CodeValue for item in made.DeidentificationMethodCodeSequence] == [value for value, _ in METHOD]
    assert (made.PatientIdentityRemoved, made.BurnedInAnnotation) == ("YES", "NO")
    assert made.LongitudinalTemporalInformationModified == "MODIFIED"
    assert (stored_values(made)[0] == stored_values(source)[0]).all()


@pytest.mark.parametrize(("modality", "bits"), [("DX", 12), ("CR", 8), ("CR", 12)])
def test_the_object_is_as_valid_as_before(modality: str, bits: int, tmp_path: Path) -> None:
    source = as_radiograph(IMAGE, modality=modality, bits_stored=bits)
    dcmwrite(tmp_path / "before.dcm", source, enforce_file_format=True)
    (tmp_path / "after.dcm").write_bytes(cleaned(source)[1])
    assert set(dciodvfy_errors(tmp_path / "after.dcm")) <= set(dciodvfy_errors(tmp_path / "before.dcm"))
    assert dcmread(tmp_path / "after.dcm").pixel_array.shape == IMAGE.shape
