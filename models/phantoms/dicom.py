"""A picture as a valid DICOM radiograph (CR, or DX For Presentation): for tests and demonstrations.

Type 1 and 2 elements of the IODs of PS3.3 A.2 (CR) and A.26 (DX) are there; all identities are made up and settable; UIDs and times
depend on the seed text alone, so the same call gives the same bytes.
"""

from __future__ import annotations

import io
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CR = UID("1.2.840.10008.5.1.4.1.1.1")
DX = UID("1.2.840.10008.5.1.4.1.1.1.1")
_NAMESPACE = uuid.UUID("0b1c4d5a-5d0e-4a1c-9b6e-2f1f6c0f3a77")


def made_uid(*parts: str) -> str:
    """Return a UID that depends on the parts alone (2.25 arc, PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(parts)).int}"


def as_radiograph(
    image: NDArray[np.float32],
    *,
    seed: str = "phantom",
    instance: str = "1",
    modality: str = "DX",
    monochrome1: bool = False,
    bits_stored: int = 12,
    character_set: str | list[str] = "ISO_IR 192",
    **elements: Any,
) -> Dataset:
    """Wrap a picture.

    Parameters
    ----------
    image
        float32 (rows, columns), 0..1, brighter = more attenuation.
    seed
        Names patient, study and series: the same text, the same UIDs.
    instance
        Names the instance within them.
    modality
        ``DX`` (For Presentation) or ``CR``.
    monochrome1
        Store it so that low values are bright.
    character_set
        Specific Character Set.
    elements
        Any element by keyword; ``None`` removes it. Set last, so they win.
    """
    stored = np.round(np.clip(image, 0, 1) * (2**bits_stored - 1))
    if monochrome1:
        stored = 2**bits_stored - 1 - stored
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = character_set
    ds.SOPClassUID = CR if modality == "CR" else DX
    ds.SOPInstanceUID = made_uid(seed, "instance", instance)
    ds.StudyInstanceUID = made_uid(seed, "study")
    ds.SeriesInstanceUID = made_uid(seed, "series")
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20261120"
    ds.StudyTime, ds.SeriesTime, ds.AcquisitionTime, ds.ContentTime = "101500", "101530", "101545", "101546"
    ds.AccessionNumber = "A" + uuid.uuid5(_NAMESPACE, seed).hex[:9].upper()
    ds.Modality = modality
    ds.Manufacturer = "Phantom Works"
    ds.ManufacturerModelName = "Drawn Chest"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = "1"
    ds.StationName = "PHANTOM1"
    ds.InstitutionName = "Example Hospital"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Chest PA"
    ds.SeriesDescription = "Chest PA"
    ds.PatientName = "Phantom^" + seed.title().replace("_", " ")[:40]
    ds.PatientID = "P" + uuid.uuid5(_NAMESPACE, seed).hex[:8].upper()
    ds.IssuerOfPatientID = "EXAMPLE"
    ds.PatientBirthDate = "19700412"
    ds.PatientSex = "O"
    ds.StudyID = "1"
    ds.SeriesNumber = 1
    ds.InstanceNumber = 1
    ds.AcquisitionNumber = 1
    ds.BodyPartExamined = "CHEST"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.ImagerPixelSpacing = [round(400 / max(image.shape), 4)] * 2
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    if modality == "DX":
        _add_dx(ds, monochrome1)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    ds.Rows, ds.Columns = image.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (8 if bits_stored <= 8 else 16), bits_stored, bits_stored - 1
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = str(2 ** (bits_stored - 1)), str(2**bits_stored)
    data = stored.astype("<u1" if bits_stored <= 8 else "<u2").tobytes()
    ds.add_new(0x7FE00010, "OB" if bits_stored <= 8 else "OW", data + b"\0" * (len(data) % 2))
    for keyword, value in elements.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def to_bytes(ds: Dataset) -> bytes:
    """Return the Part 10 file."""
    buffer = io.BytesIO()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _add_dx(ds: Dataset, monochrome1: bool) -> None:
    """Add what DX demands beyond CR (PS3.3 C.8.11.1 to C.8.11.5)."""
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.ImageLaterality = "U"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if not monochrome1 else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    ds.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    ds.DetectorType = "DIRECT"
    ds.AcquisitionContextSequence = Sequence([])
    ds.AnatomicRegionSequence = Sequence([code_item("816094009", "SCT", "Chest")])
    view = code_item("272479007", "SCT", "postero-anterior")
    view.ViewModifierCodeSequence = Sequence([])
    ds.ViewCodeSequence = Sequence([view])
    ds.PositionerType = "NONE"


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence (PS3.3, 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
