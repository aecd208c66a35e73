"""Where the voxels of a drawn chest lie, and how a tube or a blob is painted onto them.

Lengths in mm about the middle of the volume: z to the head, y to the back, x to the patient's left. Arrays are (slices, rows,
columns), feet to head, as ``dicom_node.imaging.volume`` gives them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Point = tuple[float, float, float]  # (z, y, x) in mm
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """``shape``: (slices, rows, columns). ``spacing_mm``: (z, y, x). ``start_mm``: how far its middle lies towards the head."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    start_mm: float = 0.0

    @cached_property
    def axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The mm of every slice, row and column."""
        z, y, x = (
            ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32) for n, step in zip(self.shape, self.spacing_mm, strict=True)
        )
        return z + np.float32(self.start_mm), y, x

    def box(self, low: Sequence[float], high: Sequence[float]) -> Box:
        """Return the voxels between two corners (mm), cut at the volume's edge; empty where nothing of it is inside."""
        first = (-self.start_mm, 0.0, 0.0)
        cut = []
        for n, step, move, a, b in zip(self.shape, self.spacing_mm, first, low, high, strict=True):
            middle = (n - 1) / 2
            start, stop = math.ceil((a + move) / step + middle), math.floor((b + move) / step + middle) + 1
            cut.append(slice(min(max(start, 0), n), min(max(stop, 0), n)))
        return cut[0], cut[1], cut[2]

    def around(self, box: Box, centre: Point) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return the distances (mm) from ``centre`` along z, y and x, shaped to be combined over the box."""
        z, y, x = (axis[part] - np.float32(c) for axis, part, c in zip(self.axes, box, centre, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]


def tube(grid: Grid, start: Point, end: Point, radius: float) -> tuple[Box, Volume]:
    """Return how much of each voxel a straight tube with round ends fills, 0..1, and the box that the array covers.

    A tube thinner than a voxel fills a part of it, as in a real scan (partial volume).
    """
    step = sum(grid.spacing_mm) / 3
    reach = radius + step
    ends = list(zip(start, end, strict=True))
    box = grid.box([min(pair) - reach for pair in ends], [max(pair) + reach for pair in ends])
    if any(part.stop <= part.start for part in box):
        return box, np.zeros([max(0, part.stop - part.start) for part in box], np.float32)
    z, y, x = grid.around(box, start)
    along = [np.float32(b - a) for a, b in ends]
    over = np.float32(1 / max(float(sum(a * a for a in along)), 1e-6))
    dot = z * along[0] + y * along[1] + x * along[2]
    t = np.minimum(np.maximum(dot * over, np.float32(0)), np.float32(1))
    # |p - t a|^2 without three differences: |p|^2 - 2 t (p.a) + t^2 |a|^2
    square = (z * z + y * y + x * x) - t * (dot * np.float32(2) - t / over)
    distance = np.sqrt(np.maximum(square, np.float32(0)))
    share = np.minimum(
        np.maximum((np.float32(radius) - distance) / np.float32(step) + np.float32(0.5), np.float32(0)), np.float32(1)
    )
    most = min(1.0, (2 * radius / step) ** 2)
    return box, share if most == 1 else share * np.float32(most)


def paint(hu: Volume, box: Box, share: Volume, value: float) -> None:
    """Mix ``value`` into the voxels of the box by their share, in place."""
    part = hu[box]
    part += share * (np.float32(value) - part)
