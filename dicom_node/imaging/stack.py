"""Do these slices make a volume? Order along their normal, even spacing, gaps, shear: arithmetic on positions, no pixel is read.

The series choice asks it by the facts of reception, the volume by the files themselves: both get the same answer.
Patient coordinates are DICOM's (PS3.3 C.7.6.2.1.1): x to the left, y to the back, z to the head; millimetres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.errors import InconsistentSeries

#: Two slices nearer than this lie at one position.
SAME_POSITION_MM = 0.02
#: How far a distance between slices may be from the usual one and count as even.
EVEN = 0.10
#: How far a slice may lie from its place on the even grid, in slice distances, and be taken for it; flagged above ``EVEN``.
ON_GRID = 0.25
#: Missing slices in one gap, and the gap's length, above which nothing is made up.
MOST_MISSING = 2
LONGEST_GAP_MM = 10.0
#: Slices below which there is no volume.
LEAST_SLICES = 3
#: Pixels: what a stack may drift sideways before it is called sheared.
DRIFT = 0.5
#: No scanner's coordinates are larger.
LARGEST_MM = 1e5


class TooFewSlices(InconsistentSeries):
    """One slice, or two: no volume."""

    code = "too_few_slices"


class MixedGeometry(InconsistentSeries):
    """Slices that do not lie parallel, or have unlike matrices."""

    code = "mixed_geometry"


class DuplicateSlices(InconsistentSeries):
    """Different images at one position."""

    code = "duplicate_slices"


class UnevenSpacing(InconsistentSeries):
    """Distances that are no multiples of one slice distance."""

    code = "uneven_spacing"


@dataclass(frozen=True)
class Stack:
    """How slices lie behind each other.

    ``places``: for each slice given, its place 0, 1, … from feet to head; several slices of one place lie at one position.
    ``count``: places in all, missing slices included. ``spacing_mm``: between places. ``normal``: unit vector, towards the head.
    ``along_mm``: position of each slice on the normal. ``missing``: places without a slice. ``worst``: the largest distance of a
    slice from its place, in slice distances.
    """

    places: tuple[int, ...]
    count: int
    spacing_mm: float
    normal: tuple[float, float, float]
    along_mm: tuple[float, ...]
    missing: tuple[int, ...]
    worst: float

    @property
    def flags(self) -> tuple[str, ...]:
        """``interpolated_slices``, ``uneven_spacing``."""
        found = ["interpolated_slices"] if self.missing else []
        return (*found, "uneven_spacing") if self.worst > EVEN else tuple(found)


def normal_of(orientation: Sequence[float]) -> NDArray[np.float64]:
    """Return the unit vector across the slice, towards the head.

    Parameters
    ----------
    orientation
        Image Orientation (Patient): six direction cosines.

    Raises
    ------
    MixedGeometry
        The two directions are not perpendicular unit vectors, so they span no image plane.
    """
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    if (
        len(orientation) != 6
        or max(abs(v) for v in orientation) > 1.1
        or abs(row @ row - 1) > 0.02
        or abs(column @ column - 1) > 0.02
        or abs(row @ column) > 0.01
    ):
        raise MixedGeometry("Image Orientation (Patient) is missing or spans no plane.")
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return normal if normal[int(np.argmax(np.abs(normal)))] > 0 else -normal


def degrees_from_axial(orientation: Sequence[float]) -> float:
    """Return the angle between the slice's normal and the body's long axis. Raises as ``normal_of``."""
    return float(np.degrees(np.arccos(np.clip(normal_of(orientation)[2], -1, 1))))


def stack_of(orientation: Sequence[float], positions_mm: Sequence[Sequence[float]]) -> Stack:
    """Return how slices of one orientation lie behind each other.

    Raises
    ------
    MixedGeometry
        An orientation or a position that cannot be meant.
    TooFewSlices
        Fewer than three positions.
    UnevenSpacing
        A distance that is no multiple of the usual one.
    InconsistentSeries
        A gap of more than two slices or 10 mm.
    """
    normal = normal_of(orientation)
    positions = np.asarray(positions_mm, float).reshape(-1, 3)
    if positions.size and np.abs(positions).max() > LARGEST_MM:
        raise MixedGeometry("Image Position (Patient) lies outside every scanner.")
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    new = np.concatenate(([True], np.diff(along[order]) > SAME_POSITION_MM)) if len(order) else np.zeros(0, bool)
    distinct = along[order][new]
    if len(distinct) < LEAST_SLICES:
        raise TooFewSlices(
            f"The series has slices at {len(distinct)} position(s); {LEAST_SLICES} are the fewest that make a volume."
        )
    gaps = np.diff(distinct)
    usual = float(np.median(gaps))
    steps = np.maximum(1, np.rint(gaps / usual)).astype(int)
    wide = gaps > usual * (1 + EVEN)
    lost = (wide & (steps - 1 > MOST_MISSING)) | (wide & (steps > 1) & (gaps > LONGEST_GAP_MM))
    if lost.any():
        worst = float(gaps[lost].max())
        raise InconsistentSeries(
            f"Slices are missing: {int(lost.sum())} gap(s), the longest {worst:.1f} mm where slices lie {usual:.2f} mm apart."
        )
    place = np.concatenate(([0], np.cumsum(steps)))
    spacing = float((distinct[-1] - distinct[0]) / place[-1])
    off = np.abs(distinct - distinct[0] - place * spacing) / spacing
    off_step = np.abs(gaps / (steps * spacing) - 1)
    if off.max() > ON_GRID:
        raise UnevenSpacing(f"The distances between slices vary from {gaps.min():.2f} to {gaps.max():.2f} mm.")
    places = np.empty(len(order), int)
    places[order] = place[np.cumsum(new) - 1]
    count = int(place[-1]) + 1
    return Stack(
        places=tuple(places.tolist()),
        count=count,
        spacing_mm=spacing,
        normal=(float(normal[0]), float(normal[1]), float(normal[2])),
        along_mm=tuple(along.tolist()),
        missing=tuple(sorted(set(range(count)) - set(place.tolist()))),
        worst=float(max(off.max(), off_step.max())),
    )


def drift_mm(orientation: Sequence[float], positions_mm: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return how far each slice lies beside the first of them, along its row and down its column: (slices, 2).

    A gantry that was tilted while the table moved straight shifts every slice by the same step; a straight stack has zeros.
    """
    positions = np.asarray(positions_mm, float).reshape(-1, 3)
    moved = positions - positions[0]
    return np.stack([moved @ np.asarray(orientation[:3], float), moved @ np.asarray(orientation[3:], float)], axis=1)


def is_sheared(orientation: Sequence[float], positions_mm: Sequence[Sequence[float]], pixel_spacing_mm: Sequence[float]) -> bool:
    """Say whether the slices lie beside each other by more than half a pixel: a tilted gantry, or a moving field of view."""
    beside = np.ptp(drift_mm(orientation, positions_mm), axis=0)
    return bool(beside[0] > DRIFT * pixel_spacing_mm[1] or beside[1] > DRIFT * pixel_spacing_mm[0])
