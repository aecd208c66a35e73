"""The greys of a picture at 16 x 16, and how alike two such pictures are: enough to tell a chest from a knee, or from its negative.

What the average chest looks like stands in the lung bundle (``gate.npz``).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16
_MARGIN = 0.15  # of the lungs' box, on every side: shoulders and belly belong to the look of a chest

Floats = NDArray[np.float64]


def coarse(image: NDArray[np.float32], box: tuple[float, float, float, float] | None = None) -> Floats:
    """Return the picture within the box and a margin at 16 x 16, mean 0, length 1 (all 0 where it is flat).

    ``image``: float32 (rows, columns), brighter = more attenuation. ``box``: (x0, y0, x1, y1) in pixels, ends exclusive; without
    one the whole picture, without a margin. Where the margin leaves the picture its outermost pixels go on.
    """
    rows, columns = image.shape
    left, top, right, bottom = 0, 0, columns, rows
    if box is not None:
        x0, y0, x1, y1 = box
        dx, dy = (x1 - x0) * _MARGIN, (y1 - y0) * _MARGIN
        left, top, right, bottom = round(x0 - dx), round(y0 - dy), round(x1 + dx), round(y1 + dy)
    inside = image[max(0, top) : min(rows, bottom), max(0, left) : min(columns, right)]
    scale = max(1.0, min(inside.shape) / 256)  # a wide margin of copies would be dear at full size
    width, height = (max(1, round(n / scale)) for n in inside.shape[::-1])
    small = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)
    up, down, west, east = (round(max(0, n) / scale) for n in (-top, bottom - rows, -left, right - columns))
    around = cv2.copyMakeBorder(small, up, down, west, east, cv2.BORDER_REPLICATE)
    patch = np.asarray(cv2.resize(around, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float64)
    patch -= patch.mean()
    length = float(np.linalg.norm(patch))
    return patch / length if length > 1e-9 else np.zeros_like(patch)


def likeness(patch: Floats, average: Floats) -> float:
    """Return the correlation of two coarse pictures, -1..1; 0 where one is flat. A negative of a chest gives a negative number."""
    one, other = patch - patch.mean(), average - average.mean()
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum() / length) if length > 1e-9 else 0.0
