"""The slices of a series, read from their files' headers, and the one geometry that they must share."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicom_node.core.errors import InconsistentSeries, StudyError, UnsupportedInstance
from dicom_node.core.study import Instance
from dicom_node.imaging.element_values import first_text, integer
from dicom_node.imaging.encoded import guessed_syntax, looks_like_dataset, read_file_meta, read_header
from dicom_node.imaging.hounsfield import NotHounsfield
from dicom_node.imaging.pixels import MatrixSize
from dicom_node.imaging.slice_header import CT_CLASSES, SliceHeader, slice_headers
from dicom_node.imaging.stack import MixedGeometry, degrees_from_axial

#: Degrees from axial above which no orientation is called axial here; the series choice is stricter.
MOST_DEGREES = 45.0
#: What cannot be meant: a header may carry any number.
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.02, 20.0
MOST_SLOPE, MOST_INTERCEPT = 1000.0, 100_000.0
_HEAD = 1 << 16


class NotAxial(InconsistentSeries):
    """Slices along the body, or turned by a right angle in their plane."""

    code = "not_axial"


@dataclass(frozen=True)
class LocatedSlice:
    """A slice, and the object that holds it."""

    instance: Instance
    header: SliceHeader


def located_slices(instances: Sequence[Instance]) -> tuple[tuple[int, int], list[LocatedSlice]]:
    """Return (rows, columns), and every slice in the order of SOP Instance UID and frame. Nothing is decoded.

    Raises
    ------
    MixedGeometry
        Several matrices or frames of reference, or frames that nothing places.
    UnsupportedInstance
        An object that is no CT image; ``matrix_size``.
    StudyError
        A file cannot be read.
    """
    located: list[LocatedSlice] = []
    shapes: set[tuple[int, int]] = set()
    frames_of_reference: set[str] = set()
    for instance in instances:
        if instance.sop_class_uid not in CT_CLASSES:
            raise UnsupportedInstance("The series holds an object that is no CT image.")
        header = _read_header(Path(instance.path))
        shapes.add((integer(header, "Rows") or 0, integer(header, "Columns") or 0))
        frames_of_reference.add(first_text(header, "FrameOfReferenceUID"))
        slices = slice_headers(header)
        if not slices:
            raise MixedGeometry("The functional groups of the multi-frame object do not describe its frames.")
        located += [LocatedSlice(instance, one) for one in slices]
    if len(shapes) > 1:
        raise MixedGeometry(f"The slices have {len(shapes)} different matrices.")
    if len(frames_of_reference - {""}) > 1:
        raise MixedGeometry("The slices have different frames of reference.")
    shape = next(iter(shapes), (1, 1))
    if min(shape) < 1:
        raise MatrixSize(f"The image matrix is {shape[0]} x {shape[1]}.")
    return shape, sorted(located, key=lambda one: (one.instance.sop_instance_uid, one.header.frame or 0))


def _read_header(path: Path) -> Dataset:
    """Read up to the pixels: from the first bytes where those suffice, else from the mapped file."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            head = content[:_HEAD]
            meta = read_file_meta(head)
            if not meta.end and not looks_like_dataset(head):
                raise StudyError("A file of the series is not DICOM.")
            syntax = meta.transfer_syntax_uid or guessed_syntax(head[meta.end :])
            try:
                header = read_header(head[meta.end :], syntax)
                if header.has_pixel_data:
                    return header.dataset
            except StudyError:
                pass  # it may have been cut in the middle of an element
            content.seek(meta.end)
            return read_header(content, syntax).dataset
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise StudyError(f"A file of the series cannot be opened ({type(error).__name__}).") from error


def common_geometry(
    slices: Sequence[SliceHeader], shape: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, float], list[tuple[float, ...]], tuple[bool, bool]]:
    """Return orientation, pixel spacing and positions, turned so that rows run to the back and columns to the left.

    Returns
    -------
    tuple
        Six direction cosines; spacing between rows, columns; position of each slice's first pixel, after turning; whether rows,
        and columns, have to be reversed for that (a patient lying on the front, or feet first).

    Raises
    ------
    MixedGeometry
        Unlike orientations or pixel spacings, or a slice that cannot be placed.
    NotAxial
        Slices along the body, or turned by a right angle.
    NotHounsfield
        A rescale is missing, or its unit is another.
    """
    first = slices[0] if slices else None
    if first is None:
        raise InconsistentSeries("The series holds no slice.")
    for one in slices:
        if not one.position_mm or not one.orientation or not one.pixel_spacing_mm:
            raise MixedGeometry("A slice has no Image Position, Image Orientation or Pixel Spacing: it cannot be placed.")
        if np.abs(np.subtract(one.orientation, first.orientation)).max() > 0.002:
            raise MixedGeometry("The slices have different orientations.")
        if np.abs(np.subtract(one.pixel_spacing_mm, first.pixel_spacing_mm)).max() > 0.01 * min(first.pixel_spacing_mm):
            raise MixedGeometry("The slices have different pixel spacings.")
        if one.slope is None or one.intercept is None:
            raise NotHounsfield("Rescale Slope or Rescale Intercept is missing.")
        if not 0 < one.slope <= MOST_SLOPE or abs(one.intercept) > MOST_INTERCEPT:
            raise NotHounsfield("Rescale Slope or Rescale Intercept is no number that a scanner writes.")
        if one.rescale_type not in ("", "HU"):
            raise NotHounsfield(f"Rescale Type is {one.rescale_type[:16]}, not HU.")
    spacing = (first.pixel_spacing_mm[0], first.pixel_spacing_mm[1])
    if not all(LEAST_PIXEL_MM <= mm <= MOST_PIXEL_MM for mm in spacing):
        raise MixedGeometry("Pixel Spacing is no size that a scanner's pixels have.")
    along_row, down_column = np.asarray(first.orientation[:3]), np.asarray(first.orientation[3:])
    if degrees_from_axial(first.orientation) > MOST_DEGREES or abs(along_row[0]) < 0.7 or abs(down_column[1]) < 0.7:
        raise NotAxial("The slices do not lie across the body, or are turned in their plane.")
    reversed_axes = (bool(down_column[1] < 0), bool(along_row[0] < 0))
    positions = np.asarray([one.position_mm for one in slices], float)
    if reversed_axes[0]:
        positions = positions + down_column * spacing[0] * (shape[0] - 1)
        down_column = -down_column
    if reversed_axes[1]:
        positions = positions + along_row * spacing[1] * (shape[1] - 1)
        along_row = -along_row
    return (*along_row.tolist(), *down_column.tolist()), spacing, [tuple(p) for p in positions.tolist()], reversed_axes
