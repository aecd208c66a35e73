"""Which slices to read where nobody marked any: those with the largest dense, compact piece within the lungs.

Not the procedure that the model was validated with: what is read this way is forced to review.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.imaging.in_threads import in_threads
from pipelines.blocks.prepare_ct import slab_about


def candidate_slices(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    lungs: NDArray[np.uint8],
    config: Mapping[str, Any],
    threads: int = 1,
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the neighbouring slabs that hold most, by the slice in their middle, from feet to head; empty where there is nothing.

    Parameters
    ----------
    hu, spacing_mm, lungs
        As ``prepare_ct.prepare_slice``.
    config
        ``slab_mm``: distance of the slabs. ``above_hu`` (-500): denser than this. ``least_mm`` (6): equivalent diameter, at least.
        ``solidity`` (0.5): area against convex hull, above; vessels lie below. ``count`` (5): slabs in a row.
    threads
        Slabs looked at at once; the answer does not depend on it.
    """
    step = max(1, int(float(config["slab_mm"]) / spacing_mm[0] + 0.5))
    middles = list(range((step - 1) // 2, len(hu), step))
    areas = np.zeros(len(middles))

    def measure(n: int) -> None:
        slab = slab_about(middles[n], len(hu), spacing_mm[0], float(config["slab_mm"]))
        if lungs[slab].any():
            areas[n] = largest_piece_mm2(hu[slab].mean(0), lungs[middles[n]], spacing_mm[1:], config)

    in_threads(measure, range(len(middles)), threads)
    count = min(int(config.get("count", 5)), len(middles))
    sums = np.convolve(areas, np.ones(count), "valid") if count else np.zeros(0)
    record = {"automatic": True, "largest_mm2": round(float(areas.max(initial=0.0)), 1), "slabs": len(middles)}
    if not sums.size or sums.max() <= 0:
        return (), record
    first = int(np.argmax(sums))
    return tuple(middles[first : first + count]), record


def largest_piece_mm2(
    plane: NDArray[np.float32], lungs: NDArray[np.uint8], pixel_mm: tuple[float, float], config: Mapping[str, Any]
) -> float:
    """Return the area of the largest dense, compact piece in one plane; 0 where there is none."""
    # a rim of the mask is half chest wall (partial volume): thin, long and dense
    rim = max(1, round(1.5 / min(pixel_mm)))
    inner = cv2.erode((lungs > 0).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
    dense = ((plane > float(config.get("above_hu", -500))) & (inner > 0)).astype(np.uint8)
    outlines, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = 0.0
    for outline in outlines:
        x, y, width, height = cv2.boundingRect(outline)
        filled = cv2.drawContours(np.zeros((height, width), np.uint8), [outline - (x, y)], -1, 1, cv2.FILLED)
        hull = cv2.fillConvexPoly(np.zeros_like(filled), cv2.convexHull(outline) - (x, y), 1)
        area = float(filled.sum()) * pixel_mm[0] * pixel_mm[1]
        compact = filled.sum() > float(config.get("solidity", 0.5)) * hull.sum()
        if compact and 2 * np.sqrt(area / np.pi) >= float(config.get("least_mm", 6)):
            largest = max(largest, area)
    return largest
