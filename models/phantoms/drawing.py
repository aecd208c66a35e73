"""Strokes, smooth shapes and soft noise on the unit square: what the radiograph phantoms are drawn with.

A canvas is float32 (size, size); coordinates are (x, y) in 0..1, x to the image right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]
Points = Sequence[tuple[float, float]]

_SHIFT = 4  # sub-pixel bits of OpenCV's drawing


def stream(seed: int, part: str) -> np.random.Generator:
    """Return the random numbers of one part of one phantom: a part that is left out does not move the others."""
    return np.random.default_rng([seed, *part.encode()])


def smooth_curve(points: Points, *, closed: bool, samples: int = 24) -> NDArray[np.float64]:
    """Return a Catmull-Rom curve through the points, (n, 2)."""
    p = np.asarray(points, np.float64)
    p = np.vstack((p[-1:], p, p[:2])) if closed else np.vstack((2 * p[0] - p[1], p, 2 * p[-1] - p[-2]))
    t = np.linspace(0, 1, samples, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.vstack(pieces)


def filled(size: int, points: Points, *, blur: float = 0.0) -> Canvas:
    """Return the smooth closed shape through the points: 1 inside, 0 outside, edges softened by ``blur`` (share of the side)."""
    canvas = np.zeros((size, size), np.float32)
    curve = np.round(smooth_curve(points, closed=True) * size * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [curve], 1.0, lineType=cv2.LINE_8, shift=_SHIFT)
    return blurred(canvas, blur)


def stroke(canvas: Canvas, points: Points, width: float, value: float) -> None:
    """Draw a smooth open line of the given width (share of the side) onto the canvas, in place; the larger value stays."""
    size = canvas.shape[0]
    layer = np.zeros_like(canvas)
    curve = np.round(smooth_curve(points, closed=False) * size * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(layer, [curve], False, value, max(1, round(width * size)), cv2.LINE_8, _SHIFT)
    np.maximum(canvas, layer, out=canvas)


def ellipse(size: int, x: float, y: float, rx: float, ry: float, degrees: float = 0.0, blur: float = 0.0) -> Canvas:
    """Return a filled ellipse, softened."""
    canvas = np.zeros((size, size), np.float32)
    centre = (round(x * size * (1 << _SHIFT)), round(y * size * (1 << _SHIFT)))
    axes = (round(rx * size * (1 << _SHIFT)), round(ry * size * (1 << _SHIFT)))
    cv2.ellipse(canvas, centre, axes, degrees, 0, 360, 1.0, -1, cv2.LINE_8, _SHIFT)
    return blurred(canvas, blur)


def blurred(canvas: Canvas, share: float) -> Canvas:
    """Return the canvas after a Gaussian blur whose sigma is ``share`` of the side."""
    sigma = share * canvas.shape[0]
    return canvas if sigma < 0.3 else np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma), np.float32)


def cloud(size: int, rng: np.random.Generator, cells: int) -> Canvas:
    """Return smooth noise, mean 0 and standard deviation 1, whose blobs are about ``size / cells`` wide."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    fine = np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.asarray((fine - fine.mean()) / max(float(fine.std()), 1e-6), np.float32)


def grid(size: int) -> tuple[Canvas, Canvas]:
    """Return the x and y of every pixel's centre, 0..1."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def exposed(attenuation: Canvas, rng: np.random.Generator, grain: float = 0.008, scale_of: Canvas | None = None) -> Canvas:
    """Return the developed picture: the attenuation stretched to 0..1 by the percentiles of ``scale_of``, with quantum noise."""
    low, high = (float(v) for v in np.percentile(attenuation if scale_of is None else scale_of, (0.5, 99.7)))
    picture = np.clip((attenuation - low) / max(high - low, 1e-6), 0, 1)
    noise = rng.standard_normal(picture.shape).astype(np.float32)
    noise = 0.6 * noise + 0.4 * 2.5 * blurred(noise, 1.2 / picture.shape[0])
    picture = picture + grain * (0.5 + picture) * noise
    return np.asarray(np.clip(picture, 0, 1), np.float32)
