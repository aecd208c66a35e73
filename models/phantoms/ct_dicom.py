"""A CT phantom as a valid DICOM series (CT Image Storage, PS3.3 A.3), with the faults that real series have, where asked.

All identities are made up and settable; UIDs and times depend on the seed text alone, so the same call gives the same bytes.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from models.phantoms.ct import CtPhantom
from models.phantoms.ct_encode import encode
from models.phantoms.dicom import made_uid

CT_IMAGE = UID("1.2.840.10008.5.1.4.1.1.2")
PADDING = -2000
_NAMESPACE = uuid.UUID("6d0c8b0c-4f0e-4c2b-9c59-7d1d3a7c9a11")


def as_series(
    phantom: CtPhantom,
    *,
    seed: str = "phantom_ct",
    series: str = "1",
    transfer_syntax: str = ExplicitVRLittleEndian,
    tilt_degrees: float = 0.0,
    missing: Sequence[int] = (),
    twice: Sequence[int] = (),
    padded: bool = False,
    bits_stored: int = 16,
    headward: bool = True,
    **elements: Any,
) -> list[Dataset]:
    """Return one data set a slice, in the order of their Instance Numbers.

    Parameters
    ----------
    seed, series
        The same texts, the same UIDs. Series of one ``seed`` are of one study, patient and frame of reference.
    transfer_syntax
        Any that ``ct_encode.encode`` can write.
    tilt_degrees
        Tilt of the gantry: planes turn about the patient's left-right axis, positions still move along the table.
    missing, twice
        Slices (0 = nearest the feet) that are left out, or that come a second time as an instance of its own.
    padded
        Outside the round field of view the stored value is Pixel Padding Value.
    bits_stored
        16 (signed), or 12 (unsigned, intercept -1024), or 8 (unsigned, slope 8: what some exports make of a CT).
    headward
        Instance Number counts from the feet; else from the head.
    elements
        Any element of every image by keyword; ``None`` removes it. Set last, so they win.
    """
    hu = phantom.hu if not tilt_degrees else tilted(phantom, tilt_degrees)
    count = len(hu)
    places = [k for k in range(count) if k not in set(missing)] + sorted(set(twice))
    order = sorted(range(len(places)), key=lambda n: (places[n] if headward else -places[n], n))
    orientation = (1.0, 0.0, 0.0, 0.0, math.cos(math.radians(tilt_degrees)), math.sin(math.radians(tilt_degrees)))
    found = []
    for number, n in enumerate(order, start=1):
        k = places[n]
        z = (k - (count - 1) / 2) * phantom.spacing_mm[0]
        copy = "" if n < len(places) - len(set(twice)) else " again"
        ds = image(
            hu[k],
            seed=seed,
            series=series,
            instance=f"{k}{copy}",
            number=number,
            spacing_mm=phantom.spacing_mm,
            orientation=orientation,
            center_mm=(0.0, 0.0, z),
            padded=padded,
            bits_stored=bits_stored,
        )
        ds.GantryDetectorTilt = _text(tilt_degrees)
        found.append(finished(ds, transfer_syntax, elements))
    return found


def image(
    plane: NDArray[np.float32],
    *,
    seed: str,
    series: str,
    instance: str,
    number: int,
    spacing_mm: tuple[float, float, float],
    orientation: Sequence[float],
    center_mm: tuple[float, float, float],
    padded: bool = False,
    bits_stored: int = 16,
) -> Dataset:
    """Return one uncompressed image. ``plane``: HU (rows, columns). ``center_mm``: patient coordinates (x, y, z) of its middle."""
    ds = identified(seed, series, instance)
    ds.SOPClassUID = CT_IMAGE
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT"
    ds.SeriesDescription = "Thorax phantom"
    ds.ProtocolName = "Thorax phantom"
    ds.BodyPartExamined = "CHEST"
    ds.PatientPosition = "HFS"
    ds.InstanceNumber, ds.AcquisitionNumber = number, 1
    ds.ScanOptions = "HELICAL MODE"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime, ds.ConvolutionKernel = "120", 200, 500, "B60f"
    ds.SliceThickness = _text(spacing_mm[0])
    ds.PixelSpacing = [_text(spacing_mm[1]), _text(spacing_mm[2])]
    ds.ReconstructionDiameter = _text(spacing_mm[2] * plane.shape[1])
    along_row, along_column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    rows, columns = plane.shape
    corner = np.asarray(center_mm) - along_row * spacing_mm[2] * (columns - 1) / 2 - along_column * spacing_mm[1] * (rows - 1) / 2
    ds.ImagePositionPatient = [_text(v) for v in corner]
    ds.ImageOrientationPatient = [_text(v) for v in orientation]
    ds.FrameOfReferenceUID = made_uid(seed, "frame of reference")
    ds.PositionReferenceIndicator = ""
    ds.SliceLocation = _text(center_mm[2])
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = rows, columns
    ds.WindowCenter, ds.WindowWidth = "-600", "1500"
    _store(ds, plane, bits_stored, padded)
    return ds


def identified(seed: str, series: str, instance: str) -> Dataset:
    """Return patient, study, series and equipment of an object of the phantom's study."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPInstanceUID = made_uid(seed, "ct", series, instance)
    ds.StudyInstanceUID = made_uid(seed, "ct study")
    ds.SeriesInstanceUID = made_uid(seed, "ct series", series)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20261120"
    ds.StudyTime, ds.SeriesTime, ds.AcquisitionTime, ds.ContentTime = "101500", "101530", "101545", "101546"
    ds.AccessionNumber = "C" + uuid.uuid5(_NAMESPACE, seed).hex[:9].upper()
    ds.Manufacturer, ds.ManufacturerModelName = "Phantom Works", "Drawn Thorax"
    ds.DeviceSerialNumber, ds.SoftwareVersions, ds.StationName = "1", "1", "PHANTOMCT"
    ds.InstitutionName = "Example Hospital"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "CT thorax"
    ds.PatientName = "Phantom^" + seed.title().replace("_", " ")[:40]
    ds.PatientID = "P" + uuid.uuid5(_NAMESPACE, seed).hex[:8].upper()
    ds.IssuerOfPatientID = "EXAMPLE"
    ds.PatientBirthDate, ds.PatientSex = "19700412", "O"
    ds.StudyID = "1"
    ds.SeriesNumber = int(series) if series.isdigit() else 1
    return ds


def finished(ds: Dataset, transfer_syntax: str, elements: dict[str, Any]) -> Dataset:
    """Set or remove the caller's elements, then encode the pixels."""
    for keyword, value in elements.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return encode(ds, UID(transfer_syntax))


def tilted(phantom: CtPhantom, degrees: float) -> NDArray[np.float32]:
    """Return what a tilted gantry would have measured: each row of plane k lies where the turned plane cuts the body."""
    hu, (dz, dy, _) = phantom.hu, phantom.spacing_mm
    count, rows, _ = hu.shape
    out = np.empty_like(hu)
    for r in range(rows):
        along = (r - (rows - 1) / 2) * dy
        y = np.clip(along * math.cos(math.radians(degrees)) / dy + (rows - 1) / 2, 0, rows - 1)
        j = min(int(y), rows - 2)
        plane = hu[:, j] * np.float32(1 - (y - j)) + hu[:, j + 1] * np.float32(y - j)
        z = np.clip(np.arange(count) + along * math.sin(math.radians(degrees)) / dz, 0, count - 1)
        below = np.minimum(z.astype(int), count - 2)
        share = (z - below).astype(np.float32)[:, None]
        out[:, r] = plane[below] * (1 - share) + plane[below + 1] * share
    return out


def _store(ds: Dataset, plane: NDArray[np.float32], bits: int, padded: bool) -> None:
    signed, slope, intercept = {16: (1, 1.0, 0.0), 12: (0, 1.0, -1024.0), 8: (0, 8.0, -1024.0)}[bits]
    low, high = (-(2**15), 2**15 - 1) if signed else (0, 2**bits - 1)
    stored = np.clip(np.rint((plane - intercept) / slope), low, high)
    if padded:
        rows, columns = plane.shape
        y, x = np.ogrid[:rows, :columns]
        outside = (y - (rows - 1) / 2) ** 2 + (x - (columns - 1) / 2) ** 2 > (min(rows, columns) / 2) ** 2
        value = PADDING if signed else 0
        stored[outside] = value
        # its VR follows Pixel Representation (PS3.5 A.1), which pydicom cannot know before the data set is whole
        ds.add_new("PixelPaddingValue", "SS" if signed else "US", value)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = (8 if bits == 8 else 16), bits, bits - 1, signed
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = _text(intercept), _text(slope), "HU"
    data = stored.astype("<u1" if bits == 8 else "<i2" if signed else "<u2").tobytes()
    ds.add_new("PixelData", "OB" if bits == 8 else "OW", data + b"\0" * (len(data) % 2))


def _text(value: float) -> str:
    """Return a decimal string (DS, at most 16 characters)."""
    return f"{value + 0.0:.6f}".rstrip("0").rstrip(".") if abs(value) >= 5e-7 else "0"
