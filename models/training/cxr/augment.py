"""Changes that must not change the answer, and one that must: pasted opacities.

All work on one image float32 (size, size) with values 0..1, before normalisation, and take their randomness from the generator
that is handed in. The histogram of one image is given to another at random, because in pooled data the grey curve names the
hospital and the hospital names the label.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def geometry(rng: np.random.Generator, image: Image, *others: Image) -> tuple[Image, ...]:
    """Flip (p 0.5), rotate by up to 8 degrees, scale by up to 8 %, move by up to 5 %: the same for all arrays."""
    size = image.shape[0]
    angle, zoom = rng.uniform(-8, 8), rng.uniform(0.92, 1.08)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, zoom)
    matrix[:, 2] += rng.uniform(-0.05, 0.05, 2) * size
    mirrored = rng.random() < 0.5
    done = []
    for array in (image, *others):
        flipped = np.ascontiguousarray(array[:, ::-1]) if mirrored else array
        done.append(np.asarray(cv2.warpAffine(flipped, matrix, (size, size), flags=cv2.INTER_LINEAR), np.float32))
    return tuple(done)


def look(rng: np.random.Generator, image: Image) -> Image:
    """Gamma, contrast, blur, noise and JPEG, each by chance: what scanners and archives do."""
    out = np.clip(image, 0, 1) ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))
    out = out * np.float32(rng.uniform(0.85, 1.15)) + np.float32(rng.uniform(-0.08, 0.08))
    if rng.random() < 0.3:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 1.2))
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(0.005, 0.03), out.shape).astype(np.float32)
    return _jpeg(rng, np.clip(out, 0, 1), 0.2, 40)


def _jpeg(rng: np.random.Generator, image: Image, share: float, lowest: int) -> Image:
    if rng.random() >= share:
        return np.asarray(image, np.float32)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(lowest, 95))]
    packed = cv2.imencode(".jpg", np.round(image * 255).astype(np.uint8), quality)[1]
    return np.asarray(np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) / 255, np.float32)


def heavy_look(rng: np.random.Generator, image: Image) -> Image:
    """Stronger changes of grey values than ``look``, and letters and borders by chance: nothing of it is anatomy."""
    out = np.clip(image, 0, 1) ** np.float32(np.exp(rng.uniform(-0.7, 0.7)))
    out = np.clip((out - 0.5) * np.float32(rng.uniform(0.6, 1.4)) + 0.5 + np.float32(rng.uniform(-0.15, 0.15)), 0, 1)
    out = np.asarray(out, np.float32)
    if rng.random() < 0.5:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.3, 2.0))
    if rng.random() < 0.3:
        out = letters(rng, out)
    if rng.random() < 0.3:
        out = border(rng, out)
    if rng.random() < 0.5:
        out = out + rng.normal(0, rng.uniform(0.005, 0.05), out.shape).astype(np.float32)
    return _jpeg(rng, np.clip(out, 0, 1), 0.4, 20)


def quantiles(image: Image, count: int = 33) -> Image:
    """Return ``count`` quantiles of the grey values: one image's histogram in short."""
    return np.quantile(image, np.linspace(0, 1, count)).astype(np.float32)


def borrow_histogram(image: Image, own: Image, other: Image) -> Image:
    """Return the image with another image's grey-value distribution (monotone: anatomy stays, the style changes)."""
    rising = own + np.arange(len(own), dtype=np.float32) * np.float32(1e-6)
    return np.interp(image, rising, other).astype(np.float32)


def paste_opacity(rng: np.random.Generator, image: Image, lungs: Image) -> Image:
    """Lay one to four soft, uneven densities inside the lungs: what consolidation, infiltrate or a nodule do to the grey values.

    ``lungs``: 0..1 on the same grid. The picture is unchanged outside. Without lung pixels it is returned as it is.
    """
    inside = np.argwhere(lungs > 0.5)
    if len(inside) == 0:
        return image
    size = image.shape[0]
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    texture = cv2.resize(rng.random((size // 12, size // 12), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    density = np.zeros_like(image)
    for _ in range(int(rng.integers(1, 5))):
        y, x = inside[rng.integers(len(inside))]
        long, short = rng.uniform(0.03, 0.14) * size, rng.uniform(0.02, 0.09) * size
        turn = rng.uniform(0, np.pi)
        along = (xx - x) * np.cos(turn) + (yy - y) * np.sin(turn)
        across = (yy - y) * np.cos(turn) - (xx - x) * np.sin(turn)
        density = np.maximum(density, np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2)))
    density = density * (0.4 + 0.6 * np.clip(texture, 0, 1)) * cv2.GaussianBlur(np.clip(lungs, 0, 1), (0, 0), 2.0)
    strength = rng.uniform(0.25, 0.85)
    bright = np.float32(np.quantile(image, 0.85))
    return np.asarray(image + strength * density * np.clip(bright - image, 0, None), np.float32)


def letters(rng: np.random.Generator, image: Image) -> Image:
    """Write one to three bright letters near a corner, as film markers are: they say nothing of the lungs."""
    size = image.shape[0]
    text = "".join(rng.choice(list("LRPAXSD147"), int(rng.integers(1, 4))))
    x = int(size * (rng.uniform(0.02, 0.12) if rng.random() < 0.5 else rng.uniform(0.72, 0.86)))
    y = int(size * (rng.uniform(0.08, 0.2) if rng.random() < 0.7 else rng.uniform(0.85, 0.98)))
    grey, scale = np.float32(rng.uniform(0.85, 1.0)), size / 224 * rng.uniform(0.5, 0.9)
    ink = np.zeros(image.shape, np.uint8)  # OpenCV draws text on bytes only
    cv2.putText(ink, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, max(1, size // 112), cv2.LINE_AA)
    share = ink.astype(np.float32) / 255
    return np.asarray(image * (1 - share) + grey * share, np.float32)


def border(rng: np.random.Generator, image: Image) -> Image:
    """Lay an even strip, black or white, up to 8 % wide over one or more sides, as collimators and scanners do."""
    size = image.shape[0]
    out = image.copy()
    grey = np.float32(0.0 if rng.random() < 0.7 else 1.0)
    chosen = rng.random(4) < 0.5
    chosen[rng.integers(4)] = True
    for side in np.flatnonzero(chosen):
        width = max(1, int(size * rng.uniform(0.02, 0.08)))
        strip = (out[:width], out[-width:], out[:, :width], out[:, -width:])[side]
        strip[:] = grey
    return out
