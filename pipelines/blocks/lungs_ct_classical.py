"""Lungs by grey values and shape, without a network: air inside the body, less the airways, in two pieces.

Worked out on a reduced grid (about 2 mm), where 300 slices take seconds, then brought back to the slices' own grid by linear
interpolation: a border is right to about a millimetre, which crops, masks and volumes need and measurements of a nodule do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.imaging.in_threads import in_threads

Volume = NDArray[np.float32]
Mask = NDArray[np.uint8]

AIR_HU = -320.0  # below: air or lung
GRID_MM = 2.0  # in plane
SLICE_MM = 2.5  # slices nearer than this are averaged
AIRWAY_CM2 = 8.0  # cross-section above which a piece is no trachea or main bronchus any more
LEAST_AIRWAY_CM2 = 0.4
LEAST_LITRES = 0.3  # of one lung
CLOSING_MM = 8.0  # a vessel or nodule at the wall up to about twice this wide stays inside
WALL_LESION_MM = 45.0  # diameter of the largest lesion at the outer wall that is kept in


@dataclass(frozen=True)
class Reduced:
    """``hu``: float32 (z, y, x) on the coarse grid; each of its slices is the mean of ``step`` slices (the last: of fewer)."""

    hu: Volume
    spacing_mm: tuple[float, float, float]
    step: int


def reduced(hu: Volume, spacing_mm: tuple[float, float, float], threads: int = 1) -> Reduced:
    """Return the volume averaged to about 2 mm in plane and 2.5 mm along the body; never enlarged."""
    count, rows, columns = hu.shape
    step = max(1, int(SLICE_MM / spacing_mm[0] + 0.5))
    height = min(rows, max(8, round(rows * spacing_mm[1] / GRID_MM)))
    width = min(columns, max(8, round(columns * spacing_mm[2] / GRID_MM)))
    small = np.zeros((-(-count // step), height, width), np.float32)

    def average(k: int) -> None:
        slab = hu[k * step : (k + 1) * step]
        for plane in slab:
            shrunk = plane if plane.shape == (height, width) else cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
            small[k] += shrunk / np.float32(len(slab))

    in_threads(average, range(len(small)), threads)
    return Reduced(small, (spacing_mm[0] * step, spacing_mm[1] * rows / height, spacing_mm[2] * columns / width), step)


def segment(hu: Volume, spacing_mm: tuple[float, float, float], threads: int = 1) -> tuple[Mask, Mask, dict[str, Any]]:
    """Return the lungs (uint8, 1 right, 2 left, the shape of ``hu``), the body on the coarse grid (uint8, 0 or 1), and facts."""
    coarse = reduced(hu, spacing_mm, threads)
    air, body = _inner_air(coarse.hu, threads)
    airway = _airway(air, body, coarse.spacing_mm)
    grown = cv2_each(cv2.dilate, airway, np.ones((3, 3), np.uint8))  # its wall
    pieces, facts = _two_pieces(air & (1 - grown), coarse.spacing_mm)
    radius = max(1, round(CLOSING_MM / coarse.spacing_mm[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = np.zeros_like(pieces)
    columns = np.nonzero(pieces.any((0, 1)))[0]
    middle = float(columns[0] + columns[-1]) / 2 if columns.size else 0.0

    def close(k: int) -> None:
        for side in (1, 2):  # each by itself: closing both at once would join them in front of the heart
            plane = (pieces[k] == side).astype(np.uint8)
            if plane.any():
                plane = _closed_and_filled(plane, kernel)
                _keep_wall_lesions(plane, middle, coarse.spacing_mm)
                closed[k][(plane > 0) & (closed[k] == 0) & (grown[k] == 0)] = side

    in_threads(close, range(len(pieces)), threads)
    facts |= {"grid": list(coarse.hu.shape), "airway_ml": round(float(airway.sum() * _litres(coarse.spacing_mm) * 1000), 1)}
    return _full(closed, hu.shape, coarse.step, threads), body, facts


def _inner_air(hu: Volume, threads: int) -> tuple[Mask, Mask]:
    """Return the air that does not touch the picture's edge, and the body: all that is not air outside, uint8."""
    air, body = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)

    def part(k: int) -> None:
        count, labels = cv2.connectedComponents((hu[k] < AIR_HU).astype(np.uint8), connectivity=4)
        outside = np.zeros(count, np.bool_)
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            outside[edge] = True
        outside[0] = False
        inside = ~outside
        body[k] = inside[labels]
        inside[0] = False
        air[k] = inside[labels]

    in_threads(part, range(len(hu)), threads)
    return air, body


def _airway(air: Mask, body: Mask, spacing_mm: tuple[float, float, float]) -> Mask:
    """Return trachea and main bronchi: a small round piece near the middle, followed downwards until it opens into a lung."""
    pixel_cm2 = spacing_mm[1] * spacing_mm[2] / 100
    found = np.zeros_like(air)
    before: Mask | None = None
    columns = np.nonzero(body.any((0, 1)))[0]
    if not columns.size:
        return found
    middle, reach = (columns[0] + columns[-1]) / 2, 40 / spacing_mm[2]
    for k in range(len(air) - 1, -1, -1):
        count, labels, stats, centres = cv2.connectedComponentsWithStats(air[k], connectivity=4)
        areas = stats[:, cv2.CC_STAT_AREA] * pixel_cm2
        kept = np.zeros(count, np.bool_)
        if before is None:
            if k < len(air) / 2:
                break
            for n in range(1, count):
                wide, tall = stats[n, cv2.CC_STAT_WIDTH] * spacing_mm[2], stats[n, cv2.CC_STAT_HEIGHT] * spacing_mm[1]
                fits = LEAST_AIRWAY_CM2 < areas[n] < AIRWAY_CM2 and 0.4 < wide / tall < 2.5
                full = areas[n] * 100 > 0.55 * wide * tall
                kept[n] = fits and full and abs(centres[n][0] - middle) < reach
        else:
            kept[np.unique(labels[before > 0])] = True
            kept &= areas < AIRWAY_CM2
        kept[0] = False
        if kept.any():
            found[k] = kept[labels]
            before = found[k]
        elif before is not None:
            break
    return found


def _two_pieces(air: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Mask, dict[str, Any]]:
    """Return the pieces that are large enough for lungs, told apart: 1 the patient's right, 2 the left."""
    labels, count = ndimage.label(air)
    litre = _litres(spacing_mm)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * litre
    sizes[0] = 0
    largest = [int(n) for n in np.argsort(sizes)[::-1][:2] if sizes[n] >= LEAST_LITRES]
    sides = np.zeros(air.shape, np.uint8)
    if not largest:
        return sides, {"parted": "nothing found"}
    centres = [float(np.nonzero(labels == n)[2].mean()) for n in largest]
    if len(largest) == 2 and abs(centres[0] - centres[1]) * spacing_mm[2] > 60:
        right, left = (largest[n] for n in np.argsort(centres))
        sides[labels == right], sides[labels == left] = 1, 2
        return sides, {"parted": "apart"}
    return told_apart(np.isin(labels, largest).astype(np.uint8), spacing_mm)


def told_apart(mask: Mask, spacing_mm: tuple[float, float, float]) -> tuple[Mask, dict[str, Any]]:
    """Return one mask of both lungs as 1 the right and 2 the left: worn down until it falls in two, then grown back."""
    found = ndimage.find_objects(mask)
    if not found:
        return np.zeros_like(mask), {"parted": "nothing found"}
    box, part = found[0], mask[found[0]] > 0
    sides, how = np.zeros_like(mask), "one side only"
    width = part.shape[2] * spacing_mm[2]
    worn = part
    for step in range(1, 6):
        worn = ndimage.binary_erosion(worn)
        labels, count = ndimage.label(worn)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        order = np.argsort(sizes)[::-1][:2]
        if count >= 2 and sizes[order[1]] > 0.25 * sizes[order[0]]:
            centres = [float(np.nonzero(labels == n)[2].mean()) for n in order]
            if abs(centres[0] - centres[1]) * spacing_mm[2] < 60:
                continue
            right, left = (int(order[n]) for n in np.argsort(centres))
            seeds = (labels == right) + np.uint8(2) * (labels == left)
            nearest = ndimage.distance_transform_edt(seeds == 0, sampling=spacing_mm, return_distances=False, return_indices=True)
            sides[box] = seeds[tuple(nearest)] * part
            return sides, {"parted": f"worn down {step} steps"}
    if width > 200:  # wider than any one lung
        how = "split in the middle"
        half = part.shape[2] // 2
        sides[box][:, :, :half], sides[box][:, :, half:] = part[:, :, :half], 2 * part[:, :, half:]
    else:
        middle = mask.shape[2] / 2
        sides[box] = part * np.uint8(1 if (box[2].start + box[2].stop) / 2 < middle else 2)
    return sides, {"parted": how}


def cv2_each(operation: Any, mask: Mask, kernel: NDArray[np.uint8]) -> Mask:
    """Return the mask after an operation of (slice, kernel) on every slice that is not empty."""
    out = np.zeros_like(mask)
    for k in np.nonzero(mask.any((1, 2)))[0]:
        out[k] = operation(mask[k], kernel)
    return out


def _closed_and_filled(plane: Mask, kernel: NDArray[np.uint8]) -> Mask:
    margin = kernel.shape[0]
    wide = cv2.copyMakeBorder(plane, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, kernel)
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(closed), outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled[margin:-margin, margin:-margin], np.uint8)


def _keep_wall_lesions(plane: Mask, middle: float, spacing_mm: tuple[float, float, float]) -> None:
    """Take in, in place, what bites into the lung's outer border wider than the closing reaches: a lesion at the chest wall.

    The outer half of a lung is convex, so what its hull has more than the lung is no anatomy there; the inner half has the heart.
    """
    x, y, width, height = cv2.boundingRect(plane)
    plane, middle = plane[y : y + height, x : x + width], middle - x  # nothing beyond can be of its hull
    points = np.argwhere(plane)[:, ::-1].astype(np.int32)  # (x, y), as OpenCV wants them
    hull = cv2.fillConvexPoly(np.zeros_like(plane), cv2.convexHull(points), 1)
    outer = abs(float(points[:, 0].mean()) - middle)
    count, labels, stats, centres = cv2.connectedComponentsWithStats(hull & (1 - plane), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA] * spacing_mm[1] * spacing_mm[2]
    for n in range(1, count):
        bite = np.pi / 4 * CLOSING_MM**2 * 2 < areas[n] < np.pi / 4 * WALL_LESION_MM**2  # less is the roundness of the lung's tips
        if bite and abs(centres[n][0] - middle) > outer:
            plane[labels == n] = 1


def _full(sides: Mask, shape: tuple[int, ...], step: int, threads: int) -> Mask:
    """Return the coarse mask on the slices' own grid."""
    count, rows, columns = shape
    out = np.zeros((count, rows, columns), np.uint8)
    if step == 1 and sides.shape == out.shape:
        return sides

    def enlarge(k: int) -> None:
        at = np.clip((k + 0.5) / step - 0.5, 0, len(sides) - 1)
        below, above = int(at), min(int(at) + 1, len(sides) - 1)
        for side in (1, 2):
            low, high = (sides[below] == side).astype(np.float32), (sides[above] == side).astype(np.float32)
            if not low.any() and not high.any():
                continue
            mixed = low * np.float32(1 - (at - below)) + high * np.float32(at - below)
            inside = cv2.resize(mixed, (columns, rows), interpolation=cv2.INTER_LINEAR) >= 0.5
            np.maximum(out[k], inside * np.uint8(side), out=out[k])

    in_threads(enlarge, range(count), threads)
    return out


def _litres(spacing_mm: tuple[float, float, float]) -> float:
    return spacing_mm[0] * spacing_mm[1] * spacing_mm[2] / 1e6
