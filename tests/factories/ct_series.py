"""Small CT series whose values are a formula of patient coordinates, so that a volume can be compared with what it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.core.study import Instance, Study
from dicom_node.imaging.header import read_instance
from dicom_node.imaging.slice_header import CT, ENHANCED_CT

SIZE, PIXEL_MM, COUNT, SPACING_MM = 48, 7.0, 24, 5.0
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
BALL_MM, BALL_SIGMA_MM = (-30.0, 20.0, 55.0), 14.0

Change = Callable[[int, Dataset], Dataset | None]


def tilted(degrees: float) -> tuple[float, ...]:
    """Return the orientation of a gantry tilted about the left-right axis."""
    t = np.radians(degrees)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(t)), float(np.sin(t)))


def hu_at(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Hounsfield units at points (…, 3): a body that is a cylinder, two lungs, a soft ball; edges are soft."""
    x, y, z = np.moveaxis(points_mm, -1, 0)

    def inside(distance: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp((distance - radius) / 4)))

    hu = -1000 + 1040 * inside(np.hypot(x, y * 1.3), 140)
    for side in (-60, 60):
        hu = hu - 880 * inside(np.sqrt((x - side) ** 2 + y**2 + ((z - 60) / 1.4) ** 2), 45)
    ball = ((points_mm - BALL_MM) ** 2).sum(-1)
    return np.asarray(hu + 500 * np.exp(-ball / (2 * BALL_SIGMA_MM**2)))


def plane_points(orientation: Sequence[float], position: Sequence[float], size: int = SIZE) -> NDArray[np.float64]:
    """Return patient coordinates of every pixel: (rows, columns, 3) (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1)."""
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    index = np.arange(size) * PIXEL_MM
    return np.asarray(position) + index[:, None, None] * column + index[None, :, None] * row


def positions(count: int = COUNT, spacing: float = SPACING_MM, orientation: Sequence[float] = AXIAL) -> list[NDArray[np.float64]]:
    """Return where the first pixels of slices lie, the table moving straight to the head, the body in the middle of each plane."""
    half = (SIZE - 1) / 2 * PIXEL_MM
    corner = -half * (np.asarray(orientation[:3]) + np.asarray(orientation[3:]))
    return [corner + np.array([0, 0, n * spacing]) for n in range(count)]


def ct_slice(number: int, orientation: Sequence[float], position: Sequence[float]) -> Dataset:
    """Return one CT image of an adult's chest, 16 bits, unsigned, intercept -1024; complete enough for this node."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"1.2.840.99.3.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.840.99.1", "1.2.840.99.2", "1.2.840.99.4"
    ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.StudyDate = "P1", "Test^Ct", "19600101", "20260301"
    ds.Modality, ds.BodyPartExamined, ds.ImageType = "CT", "CHEST", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = "Lung 1.0", 2, 99 - number, 1
    ds.ConvolutionKernel, ds.Manufacturer, ds.SliceThickness = "B60f", "SIEMENS", str(SPACING_MM)
    ds.ImageOrientationPatient = [f"{v:.8f}" for v in orientation]
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
    ds.PixelSpacing, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = [PIXEL_MM, PIXEL_MM], "1", "-1024", "HU"
    hu = hu_at(plane_points(orientation, position))
    set_pixels(ds, np.rint(hu + 1024).astype(np.uint16))
    return ds


def set_pixels(ds: Dataset, stored: NDArray[np.uint16] | NDArray[np.uint8] | NDArray[np.int16]) -> None:
    """Write stored values, native, and what describes them."""
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.BitsAllocated = ds.BitsStored = stored.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.add_new(0x7FE00010, "OW", stored.tobytes())


def series(
    folder: Path,
    *,
    orientation: Sequence[float] = AXIAL,
    at: Sequence[Sequence[float]] | None = None,
    change: Change | None = None,
    first: int = 1,
) -> list[Instance]:
    """Write a series and return its instances as reception would have them, the last slice first.

    ``change`` may alter each data set, by its number from 0; ``None`` from it leaves the slice out.
    """
    instances = []
    for n, position in enumerate(positions(orientation=orientation) if at is None else at):
        ds: Dataset | None = ct_slice(n + first, orientation, position)
        assert ds is not None
        ds = change(n, ds) if change else ds
        if ds is not None:
            instances.append(written(ds, folder))
    return instances[::-1]


def written(ds: Dataset, folder: Path) -> Instance:
    """Write a data set as a file and read its header."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return read_instance(path)


def multi_frame(slices: Sequence[Dataset], sop_class_uid: str = ENHANCED_CT) -> Dataset:
    """Return an Enhanced or Legacy Converted Enhanced CT of these images: position and rescale a frame, the rest shared."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    shared_by_name = {
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
        "CTReconstructionSequence": ("ConvolutionKernel",),
    }
    own_by_name = {
        "PlanePositionSequence": ("ImagePositionPatient",),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    }

    def groups(source: Dataset, wanted: dict[str, tuple[str, ...]]) -> Dataset:
        found = Dataset()
        for name, keywords in wanted.items():
            item = Dataset()
            for keyword in keywords:
                item[keyword] = source[keyword]
            setattr(found, name, Items([item]))
        return found

    inside = {k for names in (shared_by_name, own_by_name) for keywords in names.values() for k in keywords}
    for element in slices[0]:
        if element.keyword not in (*inside, "PixelData"):
            ds[element.tag] = element
    ds.SOPClassUID, ds.SOPInstanceUID, ds.NumberOfFrames = sop_class_uid, "1.2.840.99.5", len(slices)
    ds.SharedFunctionalGroupsSequence = Items([groups(slices[0], shared_by_name)])
    ds.PerFrameFunctionalGroupsSequence = Items([groups(one, own_by_name) for one in slices])
    ds.add_new(0x7FE00010, "OW", b"".join(one.PixelData for one in slices))
    return ds


def study_of(*groups: Sequence[Instance]) -> Study:
    """Return the study of these instances."""
    return Study("st_aaaaaaaaaa", "1.2.840.99.1", tuple(i for group in groups for i in group))
