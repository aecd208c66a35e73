"""Where slices lie, by their headers: of one image, or of every frame of a multi-frame CT.

Image Plane PS3.3 C.7.6.2; functional groups of Enhanced CT PS3.3 C.7.6.16.2 (Plane Position, Plane Orientation, Pixel Measures,
Pixel Value Transformation), of Legacy Converted Enhanced CT PS3.3 A.70. Odd values never raise: what is not understood is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.imaging.element_values import all_texts, decimals, element_of, first_text, integer, sequence_items

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.2"
MULTI_FRAME_CT = frozenset({ENHANCED_CT, LEGACY_CONVERTED_ENHANCED_CT})
CT_CLASSES = frozenset({CT, *MULTI_FRAME_CT})


@dataclass(frozen=True)
class SliceHeader:
    """One slice as its header says it is; ``()``, ``None`` and ``""`` are unknown.

    ``frame``: 1, 2, … of a multi-frame object, ``None`` of a single image. ``orientation``: direction cosines along a row, then
    down a column. ``position_mm``: middle of the first pixel. ``pixel_spacing_mm``: between rows, between columns.
    """

    frame: int | None
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str = ""


def slice_headers(dataset: Dataset) -> list[SliceHeader]:
    """Return every slice of an object, in the order of its frames; of a single image, one."""
    if first_text(dataset, "SOPClassUID") in MULTI_FRAME_CT:
        return list(_frames(dataset))
    return [
        SliceHeader(
            None,
            _of_length(decimals(dataset, "ImageOrientationPatient"), 6),
            _of_length(decimals(dataset, "ImagePositionPatient"), 3),
            _of_length(decimals(dataset, "PixelSpacing"), 2),
            _number(dataset, "SliceThickness"),
            _number(dataset, "RescaleSlope"),
            _number(dataset, "RescaleIntercept"),
            first_text(dataset, "RescaleType").upper(),
        )
    ]


def slice_facts(dataset: Dataset, encodings: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of ``HeaderFacts`` that say where a slice lies and how it was made."""
    facts: dict[str, Any] = {
        "frame_of_reference_uid": first_text(dataset, "FrameOfReferenceUID"),
        "acquisition_number": first_text(dataset, "AcquisitionNumber"),
        "contrast_agent": first_text(dataset, "ContrastBolusAgent", encodings) or _agent(dataset, encodings),
    }
    if first_text(dataset, "SOPClassUID") in MULTI_FRAME_CT:
        return facts | _multi_frame_facts(dataset, encodings)
    return facts | {
        "pixel_spacing_mm": decimals(dataset, "PixelSpacing"),
        "image_orientation": _of_length(decimals(dataset, "ImageOrientationPatient"), 6),
        "image_position_mm": _of_length(decimals(dataset, "ImagePositionPatient"), 3),
        "slice_thickness_mm": _number(dataset, "SliceThickness"),
        "spacing_between_slices_mm": _number(dataset, "SpacingBetweenSlices"),
        "gantry_tilt_degrees": _number(dataset, "GantryDetectorTilt"),
        "kernel": all_texts(dataset, "ConvolutionKernel", encodings),
    }


def _multi_frame_facts(dataset: Dataset, encodings: tuple[str, ...]) -> dict[str, Any]:
    slices = slice_headers(dataset)
    first = slices[0] if slices else SliceHeader(None, (), (), (), None, None, None)
    reconstruction = next((_item(group, "CTReconstructionSequence") for group in _shared_and_first(dataset)), None)
    return {
        "pixel_spacing_mm": first.pixel_spacing_mm,
        "image_orientation": first.orientation,
        "image_position_mm": first.position_mm,
        "slice_thickness_mm": first.thickness_mm,
        "frame_span_mm": _span(slices),
        "kernel": all_texts(reconstruction, "ConvolutionKernel", encodings) if reconstruction is not None else (),
    }


def _span(slices: list[SliceHeader]) -> float | None:
    """Return the distance from the first to the last slice along their common normal; ``None`` where they have none."""
    if not slices or any(not s.position_mm or s.orientation != slices[0].orientation for s in slices) or not slices[0].orientation:
        return None
    with np.errstate(all="ignore"):  # numbers of any size may be written
        along = np.asarray([s.position_mm for s in slices]) @ np.cross(slices[0].orientation[:3], slices[0].orientation[3:])
        span = float(np.ptp(along))
    return span if np.isfinite(span) else None


def _frames(dataset: Dataset) -> Iterator[SliceHeader]:
    """Read the groups of every frame; a group that a frame lacks is the shared one."""
    shared = next(iter(sequence_items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    of_frames = sequence_items(dataset, "PerFrameFunctionalGroupsSequence")
    count = integer(dataset, "NumberOfFrames") or len(of_frames)
    if len(of_frames) < count:
        return  # the object contradicts itself: no frame can be placed

    for number, own in enumerate(of_frames[:count], 1):

        def group(keyword: str, own: Dataset = own) -> Dataset:
            found = _item(own, keyword)
            return found if found is not None else _item(shared, keyword) or Dataset()

        measures = group("PixelMeasuresSequence")
        values = group("PixelValueTransformationSequence")
        yield SliceHeader(
            number,
            _of_length(decimals(group("PlaneOrientationSequence"), "ImageOrientationPatient"), 6),
            _of_length(decimals(group("PlanePositionSequence"), "ImagePositionPatient"), 3),
            _of_length(decimals(measures, "PixelSpacing"), 2),
            _number(measures, "SliceThickness"),
            _number(values, "RescaleSlope"),
            _number(values, "RescaleIntercept"),
            first_text(values, "RescaleType").upper(),
        )


def _shared_and_first(dataset: Dataset) -> Iterator[Dataset]:
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in sequence_items(dataset, keyword)[:1]:
            if _item(group, "CTReconstructionSequence") is not None:
                yield group


def _item(dataset: Dataset, keyword: str) -> Dataset | None:
    return next(iter(sequence_items(dataset, keyword)), None)


def _agent(dataset: Dataset, encodings: tuple[str, ...]) -> str:
    if element_of(dataset, "ContrastBolusAgentSequence") is None:
        return ""
    items = sequence_items(dataset, "ContrastBolusAgentSequence")
    return next((first_text(item, "CodeMeaning", encodings) or "not named" for item in items), "")


def _number(dataset: Dataset, keyword: str) -> float | None:
    numbers = decimals(dataset, keyword)
    return numbers[0] if numbers else None


def _of_length(values: tuple[float, ...], length: int) -> tuple[float, ...]:
    return values if len(values) == length else ()
