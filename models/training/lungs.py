"""Where the lungs are, by the lung bundle: boxes for cropping and masks for pasting, computed as the node computes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.session import Session
from models.training.data import Row, read_gray
from pipelines.blocks.prepare_cxr import Prepared, prepare

Box = tuple[float, float, float, float]


def kept(probability: NDArray[np.float32], threshold: float, smallest_component: float) -> NDArray[np.bool_]:
    """Return the mask above ``threshold`` without components smaller than ``smallest_component`` times the largest one."""
    mask = (probability >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask.astype(bool)
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = 1 + np.flatnonzero(areas >= smallest_component * areas.max())
    return np.asarray(np.isin(labels, large))


def box_of(mask: NDArray[np.bool_], prepared: Prepared) -> Box | None:
    """Return the box (x0, y0, x1, y1) of a mask in source pixels, x1 and y1 exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    corners = prepared.affine @ np.array([[columns[0] - 0.5, columns[-1] + 0.5], [rows[0] - 0.5, rows[-1] + 0.5], [1.0, 1.0]])
    return float(corners[0, 0] + 0.5), float(corners[1, 0] + 0.5), float(corners[0, 1] + 0.5), float(corners[1, 1] + 0.5)


def find_lungs(bundle_folder: Path, data: Path, rows: Sequence[Row]) -> tuple[list[Box], list[NDArray[np.float32]], int]:
    """Return for every image its lung box, its mask on the source grid (float32 0/1), and in how many no lung was found.

    Where none is found the box is the whole image: the node refuses such an image, training must not lose it.
    """
    bundle = load_bundle(bundle_folder)
    session = Session(bundle.model, threads=2, device="cpu")
    config: dict[str, Any] = bundle.config["preprocessing"]
    rule: dict[str, Any] = bundle.config["mask"]
    boxes: list[Box] = []
    masks: list[NDArray[np.float32]] = []
    lost = 0
    for row in rows:
        image = read_gray(data, row.file)
        prepared = prepare(image, config)
        found = session.run({"image": prepared.network_input})["mask_probability"][0, 0]
        mask = kept(found, float(rule["threshold"]), float(rule["smallest_component"]))
        box = box_of(mask, prepared)
        lost += box is None
        boxes.append(box or (0.0, 0.0, float(image.shape[1]), float(image.shape[0])))
        back = np.linalg.inv(prepared.affine)[:2]  # source pixel -> network pixel
        placed = cv2.warpAffine(
            mask.astype(np.float32), back, (image.shape[1], image.shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        masks.append((placed >= 0.5).astype(np.float32))
    return boxes, masks, lost
