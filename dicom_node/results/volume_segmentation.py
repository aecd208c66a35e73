"""Binary Segmentation of slices of a CT series (PS3.3 A.51, C.8.20), written frame by frame.

highdicom wants the whole stack as an array; of 1,000 slices that is a quarter of a gigabyte and several copies of it. Here one
frame is unpacked at a time. Geometry is the images' own: the same frame of reference, orientation, positions and pixel spacing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import format_number_as_ds

from dicom_node.core.codes import Code
from dicom_node.core.study import Instance
from dicom_node.imaging.located_slices import located_slices
from dicom_node.imaging.slice_header import MULTI_FRAME_CT
from dicom_node.results.context import ResultContext
from dicom_node.results.frame_groups import FrameGroup, add_encoded, per_frame_groups
from dicom_node.results.header import coded, stamp
from dicom_node.results.segmentation import SegmentLabel, segment_description

#: Pixel data of one object at most; above it every second, third, … slice is left out. Archives take no object of any size.
MOST_BYTES = 64 << 20
_SEGMENTATION = Code("113076", "DCM", "Segmentation")
_SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")


@dataclass(frozen=True)
class Plane:
    """A slice in space: its image, and what a frame that lies on it must repeat. Millimetres, patient coordinates."""

    instance: Instance
    frame: int | None
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    thickness_mm: float | None

    @property
    def along_mm(self) -> float:
        """Position on the slices' normal."""
        return float(np.asarray(self.position_mm) @ np.cross(self.orientation[:3], self.orientation[3:]))


@dataclass(frozen=True)
class Frame:
    """One segment on one slice. ``mask``: uint8 (rows, columns), 0 or 1, on the grid of the image."""

    segment: int  # counted from 1
    plane: Plane
    mask: NDArray[np.uint8]


def planes_of(context: ResultContext, slices: Iterable[tuple[str, int | None]]) -> dict[tuple[str, int | None], Plane]:
    """Return where slices lie, by SOP Instance UID and frame; those whose place is not known, or not held, are left out."""
    held = {i.sop_instance_uid: i for i in context.study.instances}
    wanted = [one for one in slices if one[0] in held]
    found: dict[tuple[str, int | None], Plane] = {}
    for uid in dict.fromkeys(uid for uid, _ in wanted):
        instance = held[uid]
        if instance.sop_class_uid in MULTI_FRAME_CT:
            for one in (located.header for located in located_slices([instance])[1]):
                of_frame = (one.orientation, one.position_mm, one.pixel_spacing_mm, one.thickness_mm)
                found[uid, one.frame] = Plane(instance, one.frame, *of_frame)
            continue
        facts = instance.facts
        placed = (facts.image_orientation, facts.image_position_mm, facts.pixel_spacing_mm, facts.slice_thickness_mm)
        found[uid, None] = Plane(instance, None, *placed)
    whole = {key: p for key, p in found.items() if len(p.orientation) == 6 and len(p.position_mm) == 3 and p.pixel_spacing_mm}
    return {key: whole[key] for key in wanted if key in whole}


def every_nth(frames: int, rows: int, columns: int) -> int:
    """Return of how many slices one is kept, so that the object stays below ``MOST_BYTES``."""
    return max(1, -(-frames * rows * columns // 8 // MOST_BYTES))


def build_volume_segmentation(
    context: ResultContext,
    role: str,
    segments: Sequence[SegmentLabel],
    frames: Iterable[Frame],
    label: str,
    content: str,
    description: str,
    *,
    overlap: bool,
) -> Dataset:
    """Build and stamp a Segmentation.

    Parameters
    ----------
    frames
        Segment by segment, each from feet to head; empty ones are left out by the caller. Taken one after another.
    label, content, description
        Content Label (CS), Content Description, Series Description.
    overlap
        Whether a pixel may be of several segments.

    Raises
    ------
    ValueError
        There is no frame, or the frames have several matrices.
    """
    bits = _Bits()
    kept: list[tuple[int, Plane]] = []
    for frame in frames:
        bits.add(frame.mask)
        kept.append((frame.segment, frame.plane))
    if not kept:
        raise ValueError("a Segmentation has at least one frame")
    first = kept[0][1]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.SOPClassUID, made.Modality = SegmentationStorage, "SEG"
    made.FrameOfReferenceUID = first.instance.facts.frame_of_reference_uid or str(context.source.get("FrameOfReferenceUID", ""))
    made.PositionReferenceIndicator = str(context.source.get("PositionReferenceIndicator", "") or "")
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = label, content, "AI^Node"
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.Rows, made.Columns = bits.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 1, 1, 0
    lossy = any(plane.instance.facts.lossy == "01" for _, plane in kept)
    made.LossyImageCompression = "01" if lossy else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if lossy and context.source.get(keyword):
            made[keyword] = context.source[keyword]
    made.SegmentationType, made.SegmentsOverlap = "BINARY", "YES" if overlap else "NO"
    made.SegmentSequence = Items([segment_description(context, n, one) for n, one in enumerate(segments, start=1)])
    made.NumberOfFrames = len(kept)
    groups = _place(made, kept)
    _refer(made, kept)
    made.add_new("PixelData", "OB", bits.whole())
    stamp(made, context, role, description)
    add_encoded(made, groups)
    return made


def _place(made: Dataset, kept: Sequence[tuple[int, Plane]]) -> RawDataElement:
    """Write what all frames share (PS3.3 C.7.6.16) and the dimensions; return segment, position and source of each."""
    first = kept[0][1]
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [format_number_as_ds(v) for v in first.orientation]
    along = {id(plane): plane.along_mm for _, plane in kept}
    positions = sorted(set(along.values()))
    gaps = np.diff(positions)
    thickness = first.thickness_mm or (float(np.median(gaps)) if len(gaps) else 1.0)
    measures.SliceThickness = format_number_as_ds(thickness)
    measures.PixelSpacing = [format_number_as_ds(v) for v in first.pixel_spacing_mm]
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([orientation]), Items([measures])
    made.SharedFunctionalGroupsSequence = Items([shared])
    made.DimensionOrganizationSequence = Items([Dataset()])
    made.DimensionIndexSequence = Items([_index(0x0062000B, 0x0062000A, "Segment"), _index(0x00200032, 0x00209113, "Position")])
    order = {where: n for n, where in enumerate(positions, start=1)}
    groups = (
        FrameGroup(
            segment,
            order[along[id(plane)]],
            [format_number_as_ds(v) for v in plane.position_mm],
            plane.instance.sop_class_uid,
            plane.instance.sop_instance_uid,
            plane.frame,
        )
        for segment, plane in kept
    )
    return per_frame_groups(groups, coded(_SOURCE_PURPOSE), coded(_SEGMENTATION))


def _index(pointer: int, group: int, label: str) -> Dataset:
    item = Dataset()
    item.DimensionIndexPointer, item.FunctionalGroupPointer, item.DimensionDescriptionLabel = pointer, group, label
    return item


def _refer(made: Dataset, kept: Sequence[tuple[int, Plane]]) -> None:
    """List the images by series (PS3.3 C.12.2, Common Instance Reference)."""
    by_series: dict[str, dict[str, Instance]] = {}
    for _, plane in kept:
        by_series.setdefault(plane.instance.series_instance_uid, {})[plane.instance.sop_instance_uid] = plane.instance
    series = []
    for uid, instances in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = Items([_identity(instance) for instance in instances.values()])
        series.append(item)
    made.ReferencedSeriesSequence = Items(series)


def _identity(instance: Instance) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    return item


class _Bits:
    """Frames one behind the other, a bit a pixel, the lowest bit first; no padding between them (PS3.5, 8.1.1)."""

    def __init__(self) -> None:
        self.shape: tuple[int, int] = (0, 0)
        self._done = bytearray()
        self._rest = np.zeros(0, np.uint8)

    def add(self, mask: NDArray[np.uint8]) -> None:
        rows, columns = mask.shape
        if self.shape not in ((0, 0), (rows, columns)):
            raise ValueError(f"frames of {self.shape} and of {(rows, columns)} pixels")
        self.shape = (rows, columns)
        pixels = np.concatenate([self._rest, mask.ravel()]) if self._rest.size else mask.ravel()
        whole = pixels.size // 8 * 8
        self._done += np.packbits(pixels[:whole], bitorder="little").tobytes()
        self._rest = pixels[whole:].copy()

    def whole(self) -> bytes:
        data = bytes(self._done) + np.packbits(self._rest, bitorder="little").tobytes()
        return data + b"\0" * (len(data) % 2)
