"""From a grayscale radiograph to a network's input, each step with the affine that leads back; used by training and node alike.

The steps, in order; every figure comes from the bundle (``bundle.yaml``, ``preprocessing``), a step that is absent there is off::

    preprocessing:
      size: 224                        # network input is size x size
      working_size: 512                # long side after the first reduction
      percentiles: [0.5, 99.5]         # these grey values become 0 and 1
      border: {strip: 0.02, centre: 0.60, ratio: 0.10, std: 0.03, most: 0.20, aspect: [0.6, 1.6]}
      exposure: {low: 0.31, high: 0.66}  # training quantiles of the mean after border removal
      clahe: {below: 0.55, clip_limit: 2.0, tiles: 8}  # only if p95 - p5 lies below, or the exposure is off
      crop: none                       # none | lungs (the caller gives the lungs' box)
      crop_margin: 0.05                # of the box's longer side, on every side
      outside: {margin: 0.05, grey: 0.5}  # an even grey outside the lungs, widened by a share of the side (the caller gives them)
      mean: 0.48
      std: 0.24

The reduction comes first, before the percentiles: a 9 megapixel image then costs 20 ms instead of 400 ms, and the statistics of a
3,000 pixel radiograph and of its 512 pixel copy in a training set are the same numbers. Shrinking is area averaging (antialiased);
a pixel's centre is its integer coordinate, so enlarging by ``s`` maps ``x`` to ``(x + 0.5) * s - 0.5``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dicom_node.core.findings import Spread

Image = NDArray[np.float32]
Affine = NDArray[np.float64]

UNDER_EXPOSED = "under_exposed"
OVER_EXPOSED = "over_exposed"
WIDE_BORDER = "wide_border"
CONSTANT = "constant_image"


@dataclass(frozen=True)
class Prepared:
    """What a network gets, and how to come back.

    ``network_input``: float32 (1, 1, size, size). ``affine``: 3x3, network pixel (x, y, 1) to source pixel (x, y, 1).
    ``record``: JSON facts of every step. ``flags``: keys of ``core.findings.Flag``.
    """

    network_input: NDArray[np.float32]
    affine: Affine
    record: dict[str, Any]
    flags: tuple[str, ...] = ()
    source_shape: tuple[int, int] = field(default=(0, 0))


def prepare(
    image: Image,
    config: Mapping[str, Any],
    lung_box: tuple[float, float, float, float] | None = None,
    *,
    lungs: NDArray[Any] | None = None,
    reductions: dict[int, Image] | None = None,
) -> Prepared:
    """Return the network's input for one radiograph.

    Parameters
    ----------
    image
        (rows, columns), any range and unit, brighter = more attenuation. Not changed.
    config
        ``preprocessing`` of the bundle, as above.
    lung_box
        (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; needed when ``crop: lungs``.
    lungs
        (rows, columns) 0/1, where the lungs are; needed when there is ``outside``.
    reductions
        Reduced copies of this very image by working size: what several networks need is made once. Filled here.

    Raises
    ------
    ValueError
        Not two-dimensional, or the configuration asks for a lung crop or for lungs alone and there is no box or no mask, or its
        numbers make no sense.
    """
    if image.ndim != 2 or min(image.shape) < 2:
        raise ValueError(f"a radiograph is an array of two dimensions with at least 2 x 2 pixels, not {image.shape}")
    size = int(config["size"])
    flags: list[str] = []
    working, affine = _reduced(np.asarray(image, np.float32), int(config.get("working_size") or 0), reductions)
    low, high = (float(np.percentile(working, p)) for p in config["percentiles"])
    record: dict[str, Any] = {"source": [int(n) for n in image.shape], "percentiles": [low, high]}
    if high > low:
        working = np.clip((working - low) / (high - low), 0.0, 1.0).astype(np.float32)
    else:
        working = np.zeros_like(working)
        flags.append(CONSTANT)

    top, bottom, left, right = border_cuts(working, config["border"]) if config.get("border") else (0, 0, 0, 0)
    rows, columns = working.shape
    if config.get("border"):
        most = float(config["border"]["most"])
        if max(top / rows, bottom / rows, left / columns, right / columns) >= most - float(config["border"]["strip"]):
            flags.append(WIDE_BORDER)
    working = working[top : rows - bottom, left : columns - right]
    affine = affine @ _shift(left, top)
    down, across = float(affine[1, 1]), float(affine[0, 0])
    record["border"] = [round(top * down), round(bottom * down), round(left * across), round(right * across)]

    p5, p95 = (float(p) for p in np.percentile(working, (5, 95)))
    record["mean"] = float(working.mean(dtype=np.float64))
    record["spread"] = p95 - p5
    exposure = config.get("exposure")
    if exposure and record["mean"] < float(exposure["low"]):
        flags.append(UNDER_EXPOSED)
    if exposure and record["mean"] > float(exposure["high"]):
        flags.append(OVER_EXPOSED)

    clahe = config.get("clahe")
    record["clahe"] = False
    if clahe and (record["spread"] < float(clahe["below"]) or UNDER_EXPOSED in flags or OVER_EXPOSED in flags):
        record["clahe"] = True
        working = _equalised(working, float(clahe["clip_limit"]), int(clahe["tiles"]))

    crop = config.get("crop") or "none"
    record["crop"] = crop
    if crop == "lungs":
        if lung_box is None:
            raise ValueError("this bundle crops to the lungs (crop: lungs) and no lung box was given")
        x0, y0, x1, y1 = _box_in(working.shape, affine, lung_box, float(config.get("crop_margin") or 0.0))
        working = working[y0:y1, x0:x1]
        affine = affine @ _shift(x0, y0)
        record["crop_box"] = [x0, y0, x1, y1]
    elif crop != "none":
        raise ValueError(f'crop: "{crop}" is not known. Known: lungs, none')

    working, affine = _squared(working, affine)
    side = working.shape[0]
    shrinks = size < side
    working = cv2.resize(working, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    affine = affine @ _scale(side / size, side / size)
    outside = config.get("outside")
    if outside:
        if lungs is None:
            raise ValueError("this bundle sees lungs alone (outside) and no lungs were given")
        working = only_lungs(working, on_network(lungs, affine, size), float(outside["margin"]), float(outside["grey"]))
        record["outside"] = dict(outside)
    mean, std = float(config.get("mean") or 0.0), float(config.get("std") or 1.0)
    network_input = ((working - mean) / std).astype(np.float32)[None, None]
    return Prepared(network_input, affine, record, tuple(flags), (int(image.shape[0]), int(image.shape[1])))


def on_network(mask: NDArray[Any], affine: Affine, size: int) -> Image:
    """Bring a mask 0/1 from the source grid to the network's (bilinear): float32 (size, size), 0..1."""
    # network pixel -> source pixel: just what WARP_INVERSE_MAP wants; bytes, for only size x size of many pixels are read
    full = cv2.warpAffine(
        np.asarray(mask, np.uint8) * np.uint8(255),
        affine[:2].astype(np.float64),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    return np.asarray(full, np.float32) / np.float32(255)


def only_lungs(image: Image, lungs: Image, margin: float = 0.05, grey: float = 0.5) -> Image:
    """Return the image with an even grey outside the lungs widened by ``margin`` of the side; without lung pixels as it is.

    ``image``, ``lungs``: (size, size), 0..1. The edge between both is soft.
    """
    inside = (lungs > 0.5).astype(np.uint8)
    if not inside.any():
        return image
    reach = 2 * max(1, round(margin * image.shape[0])) + 1
    widened = cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))).astype(np.float32)
    soft = cv2.GaussianBlur(widened, (0, 0), max(1.0, image.shape[0] / 112))
    return np.asarray(image * soft + np.float32(grey) * (1 - soft), np.float32)


def to_source(values: Image, prepared: Prepared, source_shape: tuple[int, int] | None = None) -> Image:
    """Place a map of the network (any h x w that covers its input) on the grid of the source image.

    Bilinear between the map's pixel centres (align_corners=False), constant in its outer half pixel; zero where the network saw
    nothing (cut border, outside the lung crop). Separable and in float: a 7 x 7 map stays smooth on 3,000 pixels.

    Returns
    -------
    NDArray
        float32 ``source_shape`` (default: the shape that was prepared).
    """
    spread = spread_on_source(values, prepared, source_shape)
    # only where the map is not zero: of a segmentation that is half the image or less
    down, across = (np.nonzero((values != 0).any(axis))[0] for axis in (1, 0))
    placed = np.zeros(spread.shape, np.float32)
    if not down.size:
        return placed
    cells = slice(down[0], down[-1] + 1), slice(across[0], across[-1] + 1)
    rows, columns = (np.nonzero(part.any(1))[0] for part in (spread.rows[:, cells[0]], spread.columns[:, cells[1]]))
    if not rows.size or not columns.size:
        return placed
    seen = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    across_only = spread.grid[cells] @ spread.columns[seen[1], cells[1]].T
    weights = spread.rows[seen[0], cells[0]]  # of each row at most two are not zero: taking those is faster than a product
    above = (weights != 0).argmax(1)
    below = np.minimum(above + 1, weights.shape[1] - 1)
    each = np.arange(len(weights))
    second = np.where(below > above, weights[each, below], np.float32(0))
    first, target = weights[each, above], placed[seen]
    for start in range(0, len(weights), 64):  # as many rows as a processor's cache holds
        block = slice(start, start + 64)
        np.multiply(across_only[above[block]], first[block, None], out=target[block])
        target[block] += across_only[below[block]] * second[block, None]
    return placed


def spread_on_source(values: Image, prepared: Prepared, source_shape: tuple[int, int] | None = None) -> Spread:
    """Return how the map lies on the source image, without writing it out; as ``to_source`` otherwise."""
    rows, columns = source_shape or prepared.source_shape
    size_y, size_x = prepared.network_input.shape[-2:]
    back = np.linalg.inv(prepared.affine)
    wy = _weights(back[1, 1], back[1, 2], rows, size_y, values.shape[0])
    wx = _weights(back[0, 0], back[0, 2], columns, size_x, values.shape[1])
    return Spread(np.asarray(values, np.float32), wy, wx)


def border_cuts(image: Image, config: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Return how many rows and columns of dark border to cut: (top, bottom, left, right), in pixels of ``image`` (0..1).

    A strip is cut while it is dark against the centre and even, at most ``most`` of that side; a cut that would leave the allowed
    aspect ratio (width / height) is not made.
    """
    rows, columns = image.shape
    inner = (1.0 - float(config["centre"])) / 2.0
    dy, dx = int(rows * inner), int(columns * inner)
    centre = float(image[dy : rows - dy, dx : columns - dx].mean())
    narrow, wide = (float(a) for a in config["aspect"])
    cuts = [0, 0, 0, 0]
    steps = [max(1, round(n * float(config["strip"]))) for n in (rows, rows, columns, columns)]
    limits = [n * float(config["most"]) for n in (rows, rows, columns, columns)]
    for side in range(4):
        while cuts[side] + steps[side] < limits[side]:
            top, bottom, left, right = cuts
            view = image[top : rows - bottom, left : columns - right]
            n = steps[side]
            strip = (view[:n], view[-n:], view[:, :n], view[:, -n:])[side]
            if strip.mean() >= float(config["ratio"]) * centre or strip.std() >= float(config["std"]):
                break
            after = list(cuts)
            after[side] += n
            aspect = (columns - after[2] - after[3]) / (rows - after[0] - after[1])
            if not narrow <= aspect <= wide:
                break
            cuts = after
    return cuts[0], cuts[1], cuts[2], cuts[3]


def _reduced(image: Image, working_size: int, made: dict[int, Image] | None) -> tuple[Image, Affine]:
    rows, columns = image.shape
    if not working_size or max(rows, columns) <= working_size:
        return image, np.eye(3)
    factor = working_size / max(rows, columns)
    width, height = max(2, round(columns * factor)), max(2, round(rows * factor))
    small = (made or {}).get(working_size)
    if small is None:
        small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    if made is not None:
        made[working_size] = small
    return small, _scale(columns / width, rows / height)


def _equalised(image: Image, clip_limit: float, tiles: int) -> Image:
    # 8 bits: with 65,536 grey levels OpenCV's clip limit would be below one pixel per level of a tile
    clahe = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(tiles, tiles))
    return np.asarray(clahe.apply(np.round(image * 255).astype(np.uint8)), np.float32) / np.float32(255)


def _squared(image: Image, affine: Affine) -> tuple[Image, Affine]:
    rows, columns = image.shape
    side = max(rows, columns)
    top, left = (side - rows) // 2, (side - columns) // 2
    square = cv2.copyMakeBorder(image, top, side - rows - top, left, side - columns - left, cv2.BORDER_CONSTANT, value=0.0)
    return np.asarray(square, np.float32), affine @ _shift(-left, -top)


def _box_in(
    shape: tuple[int, ...], affine: Affine, box: tuple[float, float, float, float], margin: float
) -> tuple[int, int, int, int]:
    back = np.linalg.inv(affine)
    x0, y0 = (back @ (box[0] - 0.5, box[1] - 0.5, 1.0))[:2] + 0.5
    x1, y1 = (back @ (box[2] - 0.5, box[3] - 0.5, 1.0))[:2] + 0.5
    more = margin * max(x1 - x0, y1 - y0)
    left, top = max(0, int(np.floor(x0 - more))), max(0, int(np.floor(y0 - more)))
    right, bottom = min(shape[1], int(np.ceil(x1 + more))), min(shape[0], int(np.ceil(y1 + more)))
    if right - left < 2 or bottom - top < 2:
        raise ValueError("the lung box lies outside the image that is left after border removal")
    return left, top, right, bottom


def _shift(x: float, y: float) -> Affine:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _scale(x: float, y: float) -> Affine:
    return np.array([[x, 0.0, 0.5 * x - 0.5], [0.0, y, 0.5 * y - 0.5], [0.0, 0.0, 1.0]])


def _weights(scale: float, offset: float, source: int, network: int, cells: int) -> NDArray[np.float32]:
    """Return (source, cells): how much of each map cell a source row (or column) takes; each row sums to 1, or 0 outside."""
    at_network = np.arange(source) * scale + offset
    inside = (at_network >= -0.5) & (at_network <= network - 0.5)
    at = np.clip((at_network + 0.5) * cells / network - 0.5, 0, cells - 1)
    below = np.minimum(np.floor(at).astype(int), max(cells - 2, 0))
    part = (at - below) if cells > 1 else np.zeros_like(at)
    weights = np.zeros((source, cells), np.float32)
    index = np.arange(source)
    weights[index, below] = 1 - part
    if cells > 1:
        weights[index, below + 1] += part
    weights[~inside] = 0
    return weights
