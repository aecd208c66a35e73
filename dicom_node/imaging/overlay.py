"""The picture that a radiologist sees: the radiograph, where the model looked, and around it what was found and by whom.

Nothing is written over the image itself: all words stand in a band above and a band below it. Words are measured with the font and
wrapped, so none is cut off at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.core.findings import Spread
from dicom_node.imaging.overlay_bands import LEVELS, LUNG, MIN_WIDTH, RAMP, Caption, Colour, bottom_band, top_band

#: Longest side of the image within the picture; a source that is smaller is never enlarged. With the words around it, this fills a
#: reading screen's height; the radiograph itself is in the PACS, and every pixel more is hashed, written and sent.
MAX_SIDE = 1280


@dataclass(frozen=True)
class Overlay:
    """The finished picture.

    ``pixels``: uint8 (rows, columns, 3), RGB. A picture point (x, y) is the source point ``((x - offset_x) * scale_x,
    (y - offset_y) * scale_y)``, both counted from the corner of the top left pixel. ``image_shape``: (rows, columns) of the image
    within.
    """

    pixels: NDArray[np.uint8]
    scale_x: float
    scale_y: float
    offset_x: int
    offset_y: int
    image_shape: tuple[int, int]


def reduced(gray: NDArray[np.float32], max_side: int = MAX_SIDE) -> NDArray[np.uint8]:
    """Return the image as the picture shows it: uint8, its longest side ``max_side`` at most. ``gray``: float32, 0..1."""
    rows, columns = gray.shape
    size = _reduced_size(rows, columns, max_side)
    return _shrunk(cv2.convertScaleAbs(gray, alpha=255), size)


def _reduced_size(rows: int, columns: int, max_side: int) -> tuple[int, int]:
    """Return width and height."""
    ratio = min(1.0, max_side / max(rows, columns))
    return max(1, round(columns * ratio)), max(1, round(rows * ratio))


def _shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Halve by means of four while that is not too small, then interpolate: five times as fast as exact areas."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        image = np.asarray(cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA), np.uint8)
    return image if size == image.shape[::-1] else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def draw_on(
    image: NDArray[np.uint8],
    shape: tuple[int, ...],
    caption: Caption,
    saliency: NDArray[np.float32] | Spread | None = None,
    lungs: NDArray[np.uint8] | None = None,
) -> Overlay:
    """Draw the picture.

    Parameters
    ----------
    image
        What ``reduced`` gave.
    shape
        (rows, columns) of the image before that; ``saliency`` and ``lungs`` lie on its grid.
    caption
        The words.
    saliency
        float32 (rows, columns), raw and non-negative; all zero colours nothing. ``None``: no map was made.
    lungs
        uint8 (rows, columns), 1 in lung.

    Raises
    ------
    ValueError
        The map or the mask is not on the image's grid.
    """
    rows, columns = shape
    for name, other in (("saliency", saliency), ("lungs", lungs)):
        if other is not None and other.shape != (rows, columns):
            raise ValueError(f"{name} has shape {other.shape}, the image {(rows, columns)}")
    size = image.shape[1], image.shape[0]
    if isinstance(saliency, Spread):
        seen: NDArray[np.float32] | None = saliency.sampled(size[1], size[0])
    else:
        seen = None if saliency is None else cv2.resize(saliency, size, interpolation=cv2.INTER_AREA)
    coloured = _coloured(image, seen, lungs)
    width = max(MIN_WIDTH, size[0])
    top = top_band(caption, width)
    bottom = bottom_band(caption, width, has_map=seen is not None, has_evidence=_has_evidence(seen), has_lungs=lungs is not None)
    left = (width - size[0]) // 2
    picture = np.zeros((top.shape[0] + size[1] + bottom.shape[0], width, 3), np.uint8)
    picture[: top.shape[0]] = top
    picture[top.shape[0] : top.shape[0] + size[1], left : left + size[0]] = coloured
    picture[top.shape[0] + size[1] :] = bottom
    return Overlay(picture, columns / size[0], rows / size[1], left, top.shape[0], (size[1], size[0]))


def _has_evidence(saliency: NDArray[np.float32] | None) -> bool:
    return saliency is not None and float(saliency.max(initial=0.0)) > 0


def _wash_table() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return colour (256, 1, 3) and opacity (256,) by share of the map's maximum.

    The wash begins softly at the first level, and stays thin: anatomy shows through it.
    """
    share = np.linspace(0, 1, 256)
    colour = np.stack([np.interp(share, LEVELS, channel) for channel in zip(*RAMP, strict=True)], axis=-1)
    return np.round(colour).astype(np.uint8)[:, None], np.interp(share, LEVELS, (0.0, 0.24, 0.38)).astype(np.float32)


_WASH = _wash_table()


def wash(shade: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of a map alone, to be laid over its image: uint8 (h, w, 4), RGB and opacity.

    ``shade``: uint8 (h, w), 255 at the map's maximum. Same colours and outlines as in the picture.
    """
    layer = np.dstack([cv2.applyColorMap(shade, _WASH[0]), cv2.convertScaleAbs(cv2.LUT(shade, _WASH[1]), alpha=255)])
    thickness = max(1, round(max(shade.shape) / 800))
    for n in (1, 2):
        contours, _ = cv2.findContours((shade >= round(LEVELS[n] * 255)).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        cv2.polylines(layer, contours, True, (*RAMP[n], 255), thickness, cv2.LINE_AA)
    return np.asarray(layer, np.uint8)


def _coloured(image: NDArray[np.uint8], saliency: NDArray[np.float32] | None, lungs: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return the image with its wash and outlines: uint8 (h, w, 3); ``saliency`` is of its size."""
    size = image.shape[1], image.shape[0]
    picture: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    thickness = max(1, round(max(size) / 800))
    highest = 0.0 if saliency is None else float(saliency.max(initial=0.0))
    if saliency is not None and highest > 0:
        # 256 shades are more than an eye tells apart in a thin wash
        shade = cv2.convertScaleAbs(saliency, alpha=255 / highest)
        alpha = cv2.LUT(shade, _WASH[1])
        picture = cv2.blendLinear(picture, cv2.applyColorMap(shade, _WASH[0]), 1 - alpha, alpha)
    if lungs is not None:
        mask = _shrunk(lungs * np.uint8(254), size)
        _outline(picture, (mask >= 127).astype(np.uint8), LUNG, thickness)
    if saliency is not None and highest > 0:
        for n in (1, 2):
            _outline(picture, (saliency >= np.float32(LEVELS[n] * highest)).astype(np.uint8), RAMP[n], thickness)
    return picture


def _outline(picture: NDArray[np.uint8], mask: NDArray[np.uint8], colour: Colour, thickness: int) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.polylines(picture, contours, True, colour, thickness, cv2.LINE_AA)
