"""From a volume in Hounsfield units to a network's input, each step with the way back; used by training and node alike.

A network of slices (every figure comes from ``bundle.yaml``, ``preprocessing``)::

    preprocessing:
      window: {level: -600, width: 1500}   # becomes 0..1
      outside: floor                       # outside the lungs: the window's floor | keep
      pixel_mm: 0.7                        # in plane
      slab_mm: 5.0                         # thinner slices are averaged to this
      size: 512                            # rows and columns, cut or padded about its centre:
      centre: middle                       # the picture's middle | thickest_piece: of what is dense within the lungs

and a network of volumes::

    preprocessing:
      window_hu: [-1000, 400]              # becomes 0..1
      margin_mm: 10                        # about the lungs' box
      outside: keep                        # outside the lungs: keep (default) | floor, the window's
      rim_mm: 0                            # with floor: so much of the lungs' border, in plane, is outside (default: nothing)
      size: [64, 128, 128]                 # slices, rows, columns

Shrinking in plane is area averaging (antialiased); along the body a volume is resized by a cubic spline (Zunair et al.,
"Uniformizing Techniques to Process CT Scans with 3D CNNs for Tuberculosis Prediction", 2020).
A pixel's centre is its integer coordinate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.blocks.prepare_cxr import Prepared

Volume = NDArray[np.float32]
Mask = NDArray[np.uint8]
Spacing = tuple[float, float, float]
DENSE_HU, RIM_MM = -500.0, 1.5
WHOLE = 1e-3  # of a voxel: a spacing written with six decimals (3.333333 mm) must not make a margin of three voxels four


def prepare_slice(hu: Volume, spacing_mm: Spacing, lungs: Mask, index: int, config: Mapping[str, Any]) -> Prepared:
    """Return the input for one slice; ``spread_on_source`` of ``prepare_cxr`` brings a map back to the volume's plane.

    Parameters
    ----------
    hu, spacing_mm
        (slices, rows, columns); mm (z, y, x).
    lungs
        uint8, the same shape, not 0 in lung.
    index
        The slice in the middle of the slab.
    config
        ``preprocessing``, the first form above.

    Returns
    -------
    Prepared
        ``network_input`` float32 (1, 1, size, size), 0..1; ``affine`` to the pixels of the volume's plane.

    Raises
    ------
    ValueError
        ``outside`` is neither ``floor`` nor ``keep``, or ``centre`` is none of those above.
    """
    if config["outside"] not in ("floor", "keep"):
        raise ValueError(f'outside: "{config["outside"]}" is not known. Known: floor, keep')
    if config.get("centre", "middle") not in ("middle", "thickest_piece"):
        raise ValueError(f'centre: "{config["centre"]}" is not known. Known: middle, thickest_piece')
    slab = slab_about(index, len(hu), spacing_mm[0], float(config["slab_mm"]))
    plane = hu[slab].mean(0, dtype=np.float32)
    low = float(config["window"]["level"]) - float(config["window"]["width"]) / 2
    picture = np.clip((plane - np.float32(low)) / np.float32(config["window"]["width"]), 0, 1)
    masked = np.where(lungs[slab].any(0), picture, np.float32(0))
    if config["outside"] == "floor":
        picture = masked
    rows, columns = picture.shape
    pixel, size = float(config["pixel_mm"]), int(config["size"])
    height, width = max(1, round(rows * spacing_mm[1] / pixel)), max(1, round(columns * spacing_mm[2] / pixel))
    shrinks = height < rows or width < columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    picture = np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.float32)
    place = None
    if config.get("centre", "middle") == "thickest_piece":
        place = thickest_piece(np.asarray(cv2.resize(masked, (width, height), interpolation=how), np.float32), config)
    square, top, left = square_about(picture, size, place)
    sy, sx = rows / height, columns / width
    affine = np.array([[sx, 0, (0.5 - left) * sx - 0.5], [0, sy, (0.5 - top) * sy - 0.5], [0, 0, 1]])
    record = {"slice": index, "slab": [slab.start, slab.stop], "resized": [height, width], "moved": [top, left]}
    if place is not None:
        record["thickest_piece"] = list(place)
    return Prepared(square[None, None], affine, record, (), (rows, columns))


def slab_about(index: int, count: int, slice_mm: float, slab_mm: float) -> slice:
    """Return the slices whose mean is a slab of ``slab_mm`` about ``index``; at the volume's ends a thinner one."""
    thick = max(1, int(slab_mm / slice_mm + 0.5))
    start = index - (thick - 1) // 2
    return slice(max(0, start), min(count, start + thick))


def thickest_piece(masked: NDArray[np.float32], config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return row and column of the middle of the largest circle that fits into what is denser than -500 HU in the lungs.

    ``masked``: float32 (rows, columns), 0..1 over the window, 0 outside the lungs. A vessel is long and thin, a nodule is neither.
    ``None`` where nothing is dense.
    """
    low = float(config["window"]["level"]) - float(config["window"]["width"]) / 2
    above = (DENSE_HU - low) / float(config["window"]["width"])
    rim = max(1, round(RIM_MM / float(config["pixel_mm"])))  # a rim of the mask is half chest wall: thin, long and dense
    inner = cv2.erode((masked > 0).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    dense = ((masked > above) & (inner > 0)).astype(np.uint8)
    if not dense.any():
        return None
    row, column = np.unravel_index(int(np.argmax(cv2.distanceTransform(dense, cv2.DIST_L2, 5))), dense.shape)
    return int(row), int(column)


def square_about(
    picture: NDArray[np.float32], size: int, place: tuple[int, int] | None = None
) -> tuple[NDArray[np.float32], int, int]:
    """Return a square of the picture about ``place`` (default: its middle), 0 beyond it, and how far down and right it moved."""
    rows, columns = picture.shape
    top, left = (size - rows) // 2, (size - columns) // 2
    if place is not None:
        top, left = size // 2 - place[0], size // 2 - place[1]
    square = np.zeros((size, size), np.float32)
    there = slice(max(0, top), min(size, top + rows)), slice(max(0, left), min(size, left + columns))
    square[there] = picture[there[0].start - top : there[0].stop - top, there[1].start - left : there[1].stop - left]
    return square, top, left


@dataclass(frozen=True)
class PreparedVolume:
    """What a network of volumes gets, and how to come back.

    ``network_input``: float32 (1, 1, *size). ``scale``, ``offset``: per axis (z, y, x), network index i lies at source index
    ``(i + 0.5) * scale - 0.5 + offset``. ``source_shape``: of the volume.
    """

    network_input: NDArray[np.float32]
    scale: tuple[float, float, float]
    offset: tuple[int, int, int]
    source_shape: tuple[int, int, int]
    record: dict[str, Any] = field(default_factory=dict)

    def plane_at(self, values: Volume, index: int) -> NDArray[np.float32]:
        """Return the map at slice ``index``, float32 (h, w): linear between its own slices, constant in its outer half slice."""
        depth = values.shape[0]
        at = ((index + 0.5 - self.offset[0]) / self.scale[0]) * depth / self.network_input.shape[2] - 0.5
        if not -0.5 <= at <= depth - 0.5:
            return np.zeros(values.shape[1:], np.float32)
        at = min(max(at, 0.0), depth - 1.0)
        below = min(int(at), max(depth - 2, 0))
        share = np.float32(at - below)
        return np.asarray(values[below] * (1 - share) + values[min(below + 1, depth - 1)] * share, np.float32)

    def flat(self) -> Prepared:
        """Return how a plane of the input lies over a slice of the volume."""
        (_, sy, sx), (_, oy, ox) = self.scale, self.offset
        affine = np.array([[sx, 0, 0.5 * sx - 0.5 + ox], [0, sy, 0.5 * sy - 0.5 + oy], [0, 0, 1]])
        return Prepared(np.zeros((1, 1, *self.network_input.shape[3:]), np.float32), affine, {}, (), self.source_shape[1:])


def prepare_volume(hu: Volume, spacing_mm: Spacing, lungs: Mask, config: Mapping[str, Any]) -> PreparedVolume:
    """Return the input for one volume: the lungs' box with a margin, windowed, resized. Arguments as ``prepare_slice``.

    Raises
    ------
    ValueError
        There is no lung, so there is no box; or ``outside`` is neither ``floor`` nor ``keep``.
    """
    if config.get("outside", "keep") not in ("floor", "keep"):
        raise ValueError(f'outside: "{config["outside"]}" is not known. Known: floor, keep')
    ends = [np.nonzero(lungs.any(axes))[0] for axes in ((1, 2), (0, 2), (0, 1))]
    if not ends[0].size:
        raise ValueError("there is no lung in the mask: nothing to crop to")
    margin = float(config["margin_mm"])
    box = tuple(
        slice(max(0, int(e[0]) - beyond), min(n, int(e[-1]) + beyond + 1))
        for e, mm, n in zip(ends, spacing_mm, hu.shape, strict=True)
        for beyond in (math.ceil(margin / mm - WHOLE),)
    )
    depth, height, width = (int(n) for n in config["size"])
    low, high = (float(v) for v in config["window_hu"])
    part, kept = hu[box], _without_rim(lungs[box], spacing_mm, float(config.get("rim_mm", 0)))
    shrinks = part.shape[1] > height or part.shape[2] > width
    planes = np.empty((len(part), height, width), np.float32)
    for k, plane in enumerate(part):
        shown = np.clip((plane - np.float32(low)) / np.float32(high - low), 0, 1)
        if config.get("outside", "keep") == "floor":
            shown[kept[k] == 0] = 0
        planes[k] = cv2.resize(shown, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    resized = ndimage.zoom(planes, (depth / len(planes), 1, 1), order=3, mode="nearest", grid_mode=True)
    scale = (len(planes) / depth, part.shape[1] / height, part.shape[2] / width)
    offset = (box[0].start, box[1].start, box[2].start)
    record = {"box": [[part.start, part.stop] for part in box], "size": [depth, height, width]}
    network_input = np.clip(resized, 0, 1).astype(np.float32)[None, None]
    return PreparedVolume(network_input, scale, offset, (hu.shape[0], hu.shape[1], hu.shape[2]), record)


def _without_rim(lungs: Mask, spacing_mm: Spacing, rim_mm: float) -> Mask:
    """Return the mask, 0 or 1, without its outermost ``rim_mm`` in plane: half chest wall, and the more the thicker a slice is."""
    down, across = (round(rim_mm / mm) for mm in spacing_mm[1:])
    inside = (lungs > 0).astype(np.uint8)
    if not max(down, across):
        return inside
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * across + 1, 2 * down + 1))
    return np.stack([cv2.erode(plane, kernel) for plane in inside])
