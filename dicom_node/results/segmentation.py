"""Binary Segmentation of one radiograph (PS3.3 A.51, C.8.20); of CT slices see ``volume_segmentation``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as SrCode

from dicom_node.core import codes
from dicom_node.core.codes import Code
from dicom_node.core.product import PRODUCT_NAME
from dicom_node.results.context import ResultContext
from dicom_node.results.header import coded, skeleton, stamp


@dataclass(frozen=True, kw_only=True)
class SegmentLabel:
    """What one segment is. ``colour``: CIELab; ``tracking``: (part of its UID, text); ``side``: of a paired organ."""

    label: str
    category: Code
    kind: Code
    algorithm: str
    version: str
    colour: tuple[float, float, float]
    tracking: tuple[str, str]
    side: Code | None = None


@dataclass(frozen=True, kw_only=True)
class Segment(SegmentLabel):
    """One segment of a radiograph. ``mask``: uint8 (rows, columns), 0 or 1."""

    mask: NDArray[np.uint8]


def build_segmentation(
    context: ResultContext,
    role: str,
    segments: Sequence[Segment],
    label: str,
    content: str,
    description: str,
    *,
    plane: bool,
) -> Dataset:
    """Build and stamp a Segmentation on the grid of the image that was read.

    Parameters
    ----------
    segments
        All on one grid, in order.
    label, content
        Content Label (CS) and Content Description.
    description
        Series Description.
    plane
        Add an axial plane through the origin. A radiograph has none; some viewers show nothing without one. The object then
        states a geometry that the source lacks.
    """
    rows, columns = segments[0].mask.shape
    made = hd.seg.Segmentation(
        source_images=[skeleton(context, rows, columns)],
        pixel_array=np.stack([segment.mask for segment in segments], axis=-1)[None],
        segmentation_type="BINARY",
        segment_descriptions=[segment_description(context, number, segment) for number, segment in enumerate(segments, start=1)],
        series_instance_uid=context.uid("series", role),
        series_number=1,
        sop_instance_uid=context.uid("instance", role),
        instance_number=1,
        manufacturer=context.settings.manufacturer,
        manufacturer_model_name=PRODUCT_NAME,
        software_versions="1",  # overwritten by stamp
        device_serial_number=context.settings.device_serial_number,
        content_label=label,
        content_description=content,
        content_creator_name="AI^Node",
        omit_empty_frames=False,
    )
    if plane:
        _add_plane(made)
    stamp(made, context, role, description)
    return made


def segment_description(context: ResultContext, number: int, segment: SegmentLabel) -> hd.seg.SegmentDescription:
    """Return the item of Segment Sequence (PS3.3 C.8.20.4); a side stands as modifier of the type.

    A mask has no picture to write on: what it is worth stands in its description, and SYNTHETIC in the label that viewers list.
    """
    made = hd.seg.SegmentDescription(
        number,
        f"SYNTHETIC: {segment.label}"[:64] if context.synthetic else segment.label,
        SrCode(*segment.category),
        SrCode(*segment.kind),
        "AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=segment.algorithm[:64],
            family=SrCode(*codes.ARTIFICIAL_INTELLIGENCE),
            version=segment.version,
            source=context.settings.manufacturer,
        ),
        tracking_uid=context.uid("tracking", segment.tracking[0]),
        tracking_id=segment.tracking[1],
        display_color=hd.color.CIELabColor(*segment.colour),
    )
    made.SegmentDescription = ". ".join(context.disclaimer)
    if segment.side is not None:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [coded(segment.side)]
    return made


def _add_plane(made: Dataset) -> None:
    orientation = Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence = [orientation]
    for frame in made.PerFrameFunctionalGroupsSequence:
        position = Dataset()
        position.ImagePositionPatient = [0, 0, 0]
        frame.PlanePositionSequence = [position]
