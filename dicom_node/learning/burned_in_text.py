"""Is there writing in the picture? Then the image is not exported: a name drawn into pixels survives every header's cleaning.

Looked for are small shapes of high contrast near the border, of one height, in a line: four or more of them are a word. A side
marker (R, L, and an initial or two) is not. Writing in the middle of the picture, by hand, or of fewer characters is not found: a
person must look at the images of a device before they leave the hospital (docs/how-to/export-training-data.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

#: Heights of characters, as a share of the picture's longer side, and in pixels at least.
_LOWEST, _HIGHEST, _LEAST_PIXELS = 0.006, 0.05, 6
#: How far from the border writing is looked for, as a share of each side.
_BORDER = 0.25
#: How much brighter or darker than its surroundings, as a share of the picture's range.
_CONTRAST = 0.35
_EXTREME = 2  # of 255
_WORD = 4


class _Shape(NamedTuple):
    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def has_writing(stored: NDArray[Any]) -> bool:
    """Say whether a picture has writing near its border.

    Parameters
    ----------
    stored
        Integers (rows, columns), or (frames, rows, columns): stored values of a grayscale image, either polarity.
    """
    frames = stored.reshape(-1, *stored.shape[-2:])
    return any(_frame_has_writing(frame) for frame in frames)


def _frame_has_writing(frame: NDArray[Any]) -> bool:
    low, high = float(frame.min()), float(frame.max())
    if high <= low:
        return False
    grey = np.round((frame.astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)
    side = max(grey.shape)
    size = max(_LEAST_PIXELS, round(side * _HIGHEST)) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (size, size))
    masks = [  # brighter, and darker than what is around it; as bright, and as dark as nothing else, on whatever ground
        cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, kernel) > 255 * _CONTRAST,
        cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel) > 255 * _CONTRAST,
        grey >= 255 - _EXTREME,
        grey <= _EXTREME,
    ]
    return any(_is_a_word(_characters(mask.astype(np.uint8), side)) for mask in masks)


def _characters(mask: NDArray[np.uint8], side: int) -> list[_Shape]:
    """Return what is as large as a character and lies near the border."""
    rows, columns = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    lowest, highest = max(_LEAST_PIXELS, side * _LOWEST), side * _HIGHEST
    found = []
    for left, top, width, height, area in stats[1:].tolist():
        if (
            not lowest <= height <= highest
            or not 0.1 * height <= width <= 1.5 * height
            or not 0.15 <= area / (width * height) <= 0.95
        ):
            continue
        x, y = (left + width / 2) / columns, (top + height / 2) / rows
        if min(x, 1 - x, y, 1 - y) <= _BORDER:
            found.append(_Shape(left, top, width, height))
    return found


def _is_a_word(shapes: list[_Shape]) -> bool:
    """Say whether four or more stand in a line, each next to the one before."""
    ordered = sorted(shapes)
    for first in ordered:
        last, length = first, 1
        for shape in ordered:
            if shape.left <= last.left:
                continue
            near = shape.left - last.right <= 1.2 * first.height
            level = abs(shape.middle - first.middle) <= 0.4 * first.height
            alike = 0.6 <= shape.height / first.height <= 1.6
            if near and level and alike:
                last, length = shape, length + 1
        if length >= _WORD:
            return True
    return False
