"""Objects of this node as they were sent, and what a later object takes over from them.

Source images and settings may be others by then, and files may be deleted; whom a result was about stands in the result itself.
"""

from __future__ import annotations

import copy
import datetime as dt
import io
from collections.abc import Iterable

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.artifact import Artifact
from dicom_node.core.product import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, PRODUCT_NAME

#: Patient, study and order as the objects were sent with; in this order they come first, so that texts are read with their set.
_ADDRESS = (
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
    *("PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientSex", "OtherPatientIDsSequence", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence"),
    *("ReferringPhysicianName", "StudyDescription", "ReferencedRequestSequence"),
    *("InstitutionName", "Manufacturer", "DeviceSerialNumber", "SoftwareVersions"),
)


def read(artifacts: Iterable[Artifact]) -> list[Dataset]:
    """Return the data sets, without pixels."""
    return [pydicom.dcmread(io.BytesIO(artifact.data), stop_before_pixels=True) for artifact in artifacts]


def address(dataset: Dataset, sent: Iterable[Dataset]) -> None:
    """Give an object the patient, the study and the order that what was sent has."""
    objects = list(sent)
    for keyword in _ADDRESS:
        if keyword in dataset:
            del dataset[keyword]
        found = next((ds[keyword] for ds in objects if keyword in ds), None)
        if found is not None:
            dataset[keyword] = copy.deepcopy(found)
    dataset.ManufacturerModelName = PRODUCT_NAME


def date(dataset: Dataset, at: dt.datetime) -> None:
    """Write when it was made, in the zone that it states."""
    moment = at.astimezone(zone(dataset))
    day, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = time


def zone(dataset: Dataset) -> dt.tzinfo:
    """Return the zone that an object states."""
    written = str(dataset.get("TimezoneOffsetFromUTC", "") or "+0000")
    minutes = int(written[1:3]) * 60 + int(written[3:5])
    return dt.timezone(dt.timedelta(minutes=-minutes if written[0] == "-" else minutes))


def evidence(sent: list[Dataset]) -> Dataset:
    """Return the item of an evidence sequence that names objects of one study."""
    study = Dataset()
    study.StudyInstanceUID = sent[0].StudyInstanceUID
    by_series: dict[str, list[Dataset]] = {}
    for ds in sent:
        by_series.setdefault(str(ds.SeriesInstanceUID), []).append(reference(ds))
    items = []
    for uid, references in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedSOPSequence = Sequence(references)
        items.append(item)
    study.ReferencedSeriesSequence = Sequence(items)
    return study


def reference(ds: Dataset) -> Dataset:
    """Return the item that names one object."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    return item


def encoded(dataset: Dataset) -> bytes:
    """Return the Part 10 file: Explicit VR Little Endian, the file meta of this node (PS3.10, 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()
