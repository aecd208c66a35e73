"""Where a network looked and what it took for lung: maps, masks and pictures, on the grid of the image or slice they belong to."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.core.bundle_ref import BundleRef
from dicom_node.core.codes import Code


@dataclass(frozen=True)
class Spread:
    """A small map and how it lies over an image: ``rows @ grid @ columns.T`` is the map on the image's grid.

    ``grid``: float32 (h, w). ``rows``: float32 (rows of the image, h). ``columns``: float32 (columns of the image, w). A map of
    7 x 7 over a radiograph is 0.2 MB this way and 30 MB the other.
    """

    grid: NDArray[np.float32]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the image."""
        return len(self.rows), len(self.columns)

    def whole(self) -> NDArray[np.float32]:
        """Return the map on the image's grid."""
        return np.asarray(self.rows @ self.grid @ self.columns.T, np.float32)

    def sampled(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Return the map at the middles of (rows, columns) equal parts of the image."""
        down, across = ((np.arange(n) + 0.5) * whole / n for n, whole in ((rows, len(self.rows)), (columns, len(self.columns))))
        return Spread(self.grid, self.rows[down.astype(int)], self.columns[across.astype(int)]).whole()


@dataclass(frozen=True)
class SaliencyMap:
    """Where the network looked.

    ``placed``: the map, or how it lies over the image. ``values``: float32 (rows, columns) on the grid of the image that was read
    (after its own orientation, no resampling left), raw and non-negative; all zero means "no positive evidence".
    """

    finding_key: str
    method: Code
    method_name: str  # "Grad-CAM", "Grad-CAM++"
    sop_instance_uid: str
    placed: NDArray[np.float32] | Spread
    energy_in_lung: float | None = None  # share 0..1
    border_share: float | None = None  # share in the outer 5 %
    frame: int | None = None  # of a multi-frame object, counted from 1

    @functools.cached_property
    def values(self) -> NDArray[np.float32]:
        """The map on the image's grid."""
        return self.placed.whole() if isinstance(self.placed, Spread) else self.placed

    def sampled(self, longest: int) -> NDArray[np.float32]:
        """Return the map with ``longest`` points on the long side at most: enough to say where it is strongest."""
        rows, columns = self.placed.shape
        share = min(1.0, longest / max(rows, columns))
        if isinstance(self.placed, Spread):
            return self.placed.sampled(max(1, round(rows * share)), max(1, round(columns * share)))
        return self.placed


@dataclass(frozen=True)
class LungMask:
    """uint8 (rows, columns) on the grid of the image that was read: 1 in lung."""

    sop_instance_uid: str
    values: NDArray[np.uint8]
    bundle: BundleRef


@dataclass(frozen=True)
class Picture:
    """The image or slice that was read, as it is displayed, reduced for a picture: so it need not be decoded again to draw on it.

    ``values``: uint8 (h, w). ``shape``: (rows, columns) of the image.
    """

    sop_instance_uid: str
    shape: tuple[int, int]
    values: NDArray[np.uint8]
    frame: int | None = None  # of a multi-frame object, counted from 1


#: What the values of a ``LungVolume`` mean; 0 is everything else.
LUNG, RIGHT_LUNG, LEFT_LUNG = 1, 2, 3


@dataclass(frozen=True)
class PackedSlices:
    """A stack of small whole numbers as bits: one plane a value that occurs, uint8 (slices, rows, ceil(columns / 8)).

    The lungs of 1,000 slices of 512 x 512 are 32 MB a value this way and 262 MB the other.
    """

    planes: dict[int, NDArray[np.uint8]]
    columns: int

    @classmethod
    def of(cls, values: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> PackedSlices:
        """Pack uint8 (slices, rows, columns), one slice at least, slice by slice: no second stack is held beside it."""
        slices, (rows, columns) = len(values), values[0].shape
        planes: dict[int, NDArray[np.uint8]] = {}
        for n, one in enumerate(values):
            for value in range(1, int(one.max(initial=0)) + 1):
                there = one == value
                if there.any():
                    if value not in planes:
                        planes[value] = np.zeros((slices, rows, -(-columns // 8)), np.uint8)
                    planes[value][n] = np.packbits(there, axis=1)
        if not planes:
            planes[LUNG] = np.zeros((slices, rows, -(-columns // 8)), np.uint8)
        return cls(planes, columns)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        slices, rows, _ = next(iter(self.planes.values())).shape
        return slices, rows, self.columns

    def at(self, n: int) -> NDArray[np.uint8]:
        """Return slice ``n``: uint8 (rows, columns)."""
        whole = np.zeros(self.shape[1:], np.uint8)
        for value, plane in self.planes.items():
            whole[np.unpackbits(plane[n], axis=1, count=self.columns).astype(bool)] = value
        return whole


@dataclass(frozen=True)
class LungVolume:
    """The lungs on the slices of a CT series, feet to head.

    ``slices``: (SOP Instance UID, frame counted from 1 or ``None``) of each slice. ``values``: uint8 (slices, rows, columns) on the
    grid as acquired: 0 outside, 1 lung where the side is not told, 2 right lung, 3 left lung. ``bundle``: the network that made
    it; ``None``: a rule without weights, which ``method`` names.

    Raises
    ------
    ValueError
        There are more or fewer slices than names.
    """

    slices: tuple[tuple[str, int | None], ...]
    values: NDArray[np.uint8] | PackedSlices
    method: str
    bundle: BundleRef | None = None

    def __post_init__(self) -> None:
        """Check that each slice has a name."""
        if len(self.slices) != self.values.shape[0]:
            raise ValueError(f"{self.values.shape[0]} slices of lung, {len(self.slices)} names")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        slices, rows, columns = self.values.shape
        return slices, rows, columns

    def at(self, n: int) -> NDArray[np.uint8]:
        """Return slice ``n``: uint8 (rows, columns)."""
        return self.values.at(n) if isinstance(self.values, PackedSlices) else self.values[n]

    def of(self, sop_instance_uid: str, frame: int | None = None) -> NDArray[np.uint8] | None:
        """Return the slice of an image, ``None`` when there is none."""
        wanted = (sop_instance_uid, frame)
        return self.at(self.slices.index(wanted)) if wanted in self.slices else None

    def packed(self) -> PackedSlices:
        """Return the values as bits."""
        return self.values if isinstance(self.values, PackedSlices) else PackedSlices.of(self.values)
