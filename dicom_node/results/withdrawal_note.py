"""The rejection note that takes our own objects back: a Key Object Selection (PS3.3 A.35.4; IHE RAD, Imaging Object Change).

It names objects of one run of this node and nothing else: never an image of the department.
"""

from __future__ import annotations

import copy
import datetime as dt
import io

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from dicom_node.core import codes
from dicom_node.core.artifact import DICOM, Artifact
from dicom_node.core.codes import Code
from dicom_node.core.identifiers import derived_uid
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, PRODUCT_NAME
from dicom_node.core.withdrawal import NOTE
from dicom_node.results.header import coded
from dicom_node.results.sr_document import is_image_class
from dicom_node.results.withdrawal import Withdrawal

SOP_CLASS_UID = str(KeyObjectSelectionDocumentStorage)

TITLES = {code.value: code for code in (codes.REJECTED_FOR_QUALITY, codes.REJECTED_FOR_SAFETY, codes.INCORRECT_WORKLIST_ENTRY)}

#: Series number after the base: behind those of the results.
_SERIES_OFFSET = 9
_KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
#: Patient, study and order as the objects were sent with; in this order they come first, so that texts are read with their set.
_ADDRESS = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientSex", "OtherPatientIDsSequence", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "StudyDescription", "ReferencedRequestSequence"),
    *("InstitutionName", "Manufacturer", "DeviceSerialNumber", "SoftwareVersions"),
)


def build(withdrawal: Withdrawal) -> Artifact:
    """Build the note, Explicit VR Little Endian; its UID depends on the run alone."""
    sent = [pydicom.dcmread(io.BytesIO(artifact.data), stop_before_pixels=True) for artifact in withdrawal.of(DICOM)]
    with pydicom.config.disable_value_validation():  # identity goes back as it came, even where it breaks its VR
        note = _addressed(sent)
        _describe(note, withdrawal)
        note.CurrentRequestedProcedureEvidenceSequence = Sequence([_evidence(sent)])
        _content(note, withdrawal, sent)
        data = _encoded(note)
    return Artifact(withdrawal.run_key, NOTE, DICOM, str(note.SOPInstanceUID), data, SOP_CLASS_UID)


def _addressed(sent: list[Dataset]) -> Dataset:
    note = Dataset()
    for keyword in _ADDRESS:
        found = next((ds[keyword] for ds in sent if keyword in ds), None)
        if found is not None:
            note[keyword] = copy.deepcopy(found)
    return note


def _describe(note: Dataset, withdrawal: Withdrawal) -> None:
    settings = withdrawal.settings
    moment = withdrawal.at.astimezone(_zone(note))
    day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    note.SOPClassUID, note.SOPInstanceUID = SOP_CLASS_UID, derived_uid(withdrawal.run_key, "instance", NOTE)
    note.SeriesInstanceUID = derived_uid(withdrawal.run_key, "series", NOTE)
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", settings.series_number_base + _SERIES_OFFSET, 1
    note.SeriesDescription = "AI result withdrawn (RUO)"
    note.ReferencedPerformedProcedureStepSequence = Sequence([])  # Type 2
    note.ManufacturerModelName = PRODUCT_NAME
    note.InstanceCreationDate = note.SeriesDate = note.ContentDate = day
    note.InstanceCreationTime = note.SeriesTime = note.ContentTime = time


def _zone(note: Dataset) -> dt.tzinfo:
    """Return the zone that the sent objects state."""
    written = str(note.get("TimezoneOffsetFromUTC", "") or "+0000")
    minutes = int(written[1:3]) * 60 + int(written[3:5])
    return dt.timezone(dt.timedelta(minutes=-minutes if written[0] == "-" else minutes))


def _evidence(sent: list[Dataset]) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = sent[0].StudyInstanceUID
    by_series: dict[str, list[Dataset]] = {}
    for ds in sent:
        by_series.setdefault(str(ds.SeriesInstanceUID), []).append(_reference(ds))
    items = []
    for uid, references in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedSOPSequence = Sequence(references)
        items.append(item)
    study.ReferencedSeriesSequence = Sequence(items)
    return study


def _reference(ds: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return item


def _content(note: Dataset, withdrawal: Withdrawal, sent: list[Dataset]) -> None:
    """Write the content after TID 2010."""
    title = TITLES[withdrawal.settings.withdrawal_title]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = Sequence([coded(title)])
    note.ContentTemplateSequence = Sequence([template])
    items = []
    if title == codes.REJECTED_FOR_QUALITY:  # TID 2010 asks this title for a reason of CID 7011
        modifier = _item("HAS CONCEPT MOD", "CODE", codes.TITLE_MODIFIER)
        modifier.ConceptCodeSequence = Sequence([coded(codes.OTHER_FAILURE)])
        items.append(modifier)
    description = _item("CONTAINS", "TEXT", _KEY_OBJECT_DESCRIPTION)
    description.TextValue = f"AI result withdrawn. {withdrawal.cause.sentence}"
    items.append(description)
    for ds in sent:
        item = _item("CONTAINS", "IMAGE" if is_image_class(str(ds.SOPClassUID)) else "COMPOSITE", None)
        item.ReferencedSOPSequence = Sequence([_reference(ds)])
        items.append(item)
    note.ContentSequence = Sequence(items)


def _item(relation: str, value_type: str, name: Code | None) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, value_type
    if name is not None:
        item.ConceptNameCodeSequence = Sequence([coded(name)])
    return item


def _encoded(note: Dataset) -> bytes:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = note.SOPClassUID, note.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    note.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, note, enforce_file_format=True)
    return buffer.getvalue()
