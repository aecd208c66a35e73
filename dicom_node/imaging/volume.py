"""From CT slices to one volume in Hounsfield units: headers first, then pixels slice by slice into one array, once.

The array is the only large thing in memory (1,000 slices of 512 x 512 are 1.05 GB). Its grid is right-angled and even: slices from
feet to head, rows from front to back, columns from the patient's right to the left; a tilted gantry is undone by shifting slices.
Every place knows the image it came from, and ``source_plane`` gives a plane back on that image's own grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.study import Instance
from dicom_node.imaging.fill_volume import Filling
from dicom_node.imaging.hounsfield import refuse_unless_hounsfield
from dicom_node.imaging.located_slices import common_geometry, located_slices
from dicom_node.imaging.pixels import MatrixSize
from dicom_node.imaging.stack import degrees_from_axial, drift_mm, is_sheared, stack_of

#: 1.6 GB: 1,500 slices of 512 x 512, 380 of 1,024 x 1,024.
MAX_VOXELS = 400_000_000


@dataclass(frozen=True)
class SliceRef:
    """The image that a slice of the volume is. ``frame``: 1, 2, … of a multi-frame object. ``position_mm``: on the normal."""

    sop_instance_uid: str
    frame: int | None
    position_mm: float


@dataclass(frozen=True)
class Volume:
    """A chest, or part of one, in Hounsfield units.

    ``hu``: float32 (slices, rows, columns), feet to head, front to back, patient's right to left, -1024 where nothing was measured.
    ``spacing_mm``: between slices, rows, columns. ``slices``: the image of each slice, ``None`` of one that was interpolated.
    ``origin_mm``: patient coordinates of voxel (0, 0, 0). ``direction``: unit vectors of the three axes, a row each, so that voxel
    (i, j, k) lies at ``origin_mm + (i, j, k) * spacing_mm @ direction``. ``flags``: ``gantry_tilt``, ``interpolated_slices``,
    ``uneven_spacing``, ``duplicates_dropped``, ``lossy``. ``record``: JSON facts of every step.
    """

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    slices: tuple[SliceRef | None, ...]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: NDArray[np.float64] = field(default_factory=lambda: np.eye(3)[::-1])
    flags: tuple[str, ...] = ()
    record: dict[str, Any] = field(default_factory=dict)
    #: The images' own grid: (rows, columns); how far each slice was shifted on it, in pixels; whether rows, columns were reversed.
    source_shape: tuple[int, int] | None = None
    shifts: NDArray[np.float64] | None = None
    reversed_axes: tuple[bool, bool] = (False, False)

    def source_plane(self, index: int, plane: NDArray[Any]) -> NDArray[Any]:
        """Return a plane of this volume (a mask, a map; (rows, columns) of the volume) on the grid of slice ``index``'s image."""
        if self.source_shape is not None and self.shifts is not None:
            (down, across), (rows, columns) = np.rint(self.shifts[index]).astype(int), self.source_shape
            plane = plane[down : down + rows, across : across + columns]
        plane = plane[::-1] if self.reversed_axes[0] else plane
        return plane[:, ::-1] if self.reversed_axes[1] else plane


def hounsfield_volume(instances: Sequence[Instance], threads: int = 1) -> Volume:
    """Return the volume of one stack of CT slices: single images, or frames of Enhanced and Legacy Converted Enhanced CT.

    The order of ``instances`` does not matter, nor does Instance Number: slices lie where Image Position (Patient) says. So many
    ``threads`` decode; the volume does not depend on them.

    Raises
    ------
    InconsistentSeries
        ``too_few_slices``, ``mixed_geometry``, ``duplicate_slices`` (unlike images at one position; like ones are dropped),
        ``uneven_spacing``, ``not_axial``; ``incomplete_series``: a gap of more than 2 slices or 10 mm. Smaller ones are filled.
    UnsupportedInstance
        ``not_hounsfield``, ``matrix_size``, ``unsupported_object``, ``unsupported_transfer_syntax``.
    PixelDataError
        Slices whose pixels are missing, cut off or cannot be decoded, and how many.
    StudyError
        A file cannot be read.
    """
    shape, located = located_slices(instances)
    orientation, spacing, positions, reversed_axes = common_geometry([one.header for one in located], shape)
    stack = stack_of(orientation, positions)
    shifts, grown = _shifts(orientation, positions, spacing)
    rows, columns = shape[0] + grown[0], shape[1] + grown[1]
    if stack.count * rows * columns > MAX_VOXELS:
        raise MatrixSize(f"The series has {stack.count} slices of {shape[0]} x {shape[1]}: too many to be read at once.")

    hu = np.empty((stack.count, rows, columns), np.float32)  # every place is written: read, or interpolated
    facts = Filling(hu, located, stack, shifts, shape, reversed_axes).fill(threads)
    _interpolate(hu, stack.missing)
    looks = refuse_unless_hounsfield(hu)

    refs: list[SliceRef | None] = [None] * stack.count
    of_place = np.zeros((stack.count, 2))
    for one, place, along, shift in zip(located, stack.places, stack.along_mm, shifts, strict=True):
        if refs[place] is None:
            refs[place], of_place[place] = SliceRef(one.instance.sop_instance_uid, one.header.frame, along), shift
    lowest = int(np.argmin(stack.along_mm))
    axes = np.array([stack.normal, orientation[3:], orientation[:3]])
    origin = np.asarray(positions[lowest]) - shifts[lowest] * spacing @ axes[1:]
    tilted = is_sheared(orientation, positions, spacing)
    flags = [
        *(["gantry_tilt"] if tilted else []),
        *stack.flags,
        *(["duplicates_dropped"] if facts["duplicates_dropped"] else []),
        *(["lossy"] if facts["lossy_slices"] else []),
    ]
    thickness = [one.header.thickness_mm for one in located if one.header.thickness_mm is not None]
    record = {
        "slices": len(located),
        "places": stack.count,
        "spacing_mm": [round(value, 4) for value in (stack.spacing_mm, *spacing)],
        "thickness_mm": round(float(np.median(thickness)), 3) if thickness else None,
        "missing_slices": len(stack.missing),
        "worst_place": round(stack.worst, 4),
        "tilt_degrees": round(_tilt_degrees(orientation, positions), 2) if tilted else 0.0,
        "degrees_from_axial": round(degrees_from_axial(orientation), 2),
        "reversed_axes": list(reversed_axes),
        **facts,
        **looks,
    }
    return Volume(
        hu,
        (stack.spacing_mm, spacing[0], spacing[1]),
        tuple(refs),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        axes,
        tuple(flags),
        record,
        shape,
        of_place,
        reversed_axes,
    )


def _shifts(
    orientation: Sequence[float], positions: Sequence[Sequence[float]], spacing: tuple[float, float]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return by how many pixels (down, across) each slice moves on the common grid, and how much larger that has to be."""
    if not is_sheared(orientation, positions, spacing):
        return np.zeros((len(positions), 2)), (0, 0)
    across_down = drift_mm(orientation, positions)
    shifts = across_down[:, ::-1] / np.asarray(spacing)
    shifts -= shifts.min(axis=0)
    return shifts, (int(np.ceil(shifts[:, 0].max())), int(np.ceil(shifts[:, 1].max())))


def _tilt_degrees(orientation: Sequence[float], positions: Sequence[Sequence[float]]) -> float:
    """Return the angle between the way that the slices go and their normal."""
    ends = np.asarray(positions, float)
    way = ends[int(np.argmax(ends[:, 2]))] - ends[int(np.argmin(ends[:, 2]))]
    beside = np.hypot(*(way @ np.asarray(orientation, float).reshape(2, 3).T))
    return float(np.degrees(np.arcsin(np.clip(beside / max(float(np.linalg.norm(way)), 1e-9), 0, 1))))


def _interpolate(hu: NDArray[np.float32], missing: Sequence[int]) -> None:
    """Fill missing places linearly from the nearest slices that are there."""
    gone = set(missing)
    for place in missing:
        below = next(p for p in range(place - 1, -1, -1) if p not in gone)
        above = next(p for p in range(place + 1, len(hu)) if p not in gone)
        share = np.float32((place - below) / (above - below))
        hu[place] = (1 - share) * hu[below] + share * hu[above]
