"""Rejection notes as a PACS writes them (PS3.3 A.35.4), about the phantoms' images."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"


def rejection_note(of: Dataset, named: Iterable[Dataset], title: str = "113038", number: int = 1) -> Dataset:
    """Return a note of ``of``'s study and patient that names these objects."""
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID = KEY_OBJECTS, f"1.2.826.0.1.3680043.8.498.77.{number}"
    note.StudyInstanceUID, note.SeriesInstanceUID = of.StudyInstanceUID, f"1.2.826.0.1.3680043.8.498.78.{number}"
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(note, keyword, of.get(keyword, ""))
    note.Modality, note.Manufacturer, note.ManufacturerModelName = "KO", "PACS", "PACS"
    note.ValueType = "CONTAINER"
    note.ConceptNameCodeSequence = Sequence([_code(title)])
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID, series.SeriesInstanceUID = of.StudyInstanceUID, of.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([_reference(item) for item in named])
    study.ReferencedSeriesSequence = Sequence([series])
    note.CurrentRequestedProcedureEvidenceSequence = Sequence([study])
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    note.file_meta.MediaStorageSOPClassUID, note.file_meta.MediaStorageSOPInstanceUID = note.SOPClassUID, note.SOPInstanceUID
    return note


def _code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", "Rejected"
    return item


def _reference(of: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = of.SOPClassUID, of.SOPInstanceUID
    return item
