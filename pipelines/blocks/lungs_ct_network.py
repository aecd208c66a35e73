"""Lungs by a network in ONNX that works slice by slice: our own, or one that an operator brings (R231, an exported nnU-Net).

What it wants stands in its ``bundle.yaml``; every choice is a fact of that network, none has a default that could be wrong::

    preprocessing:
      size: 256                  # rows and columns of its input
      window_hu: [-1024, 600]    # clipped to this ...
      range: [0, 1]              # ... and mapped to this
      crop: body                 # body: the body's box, squared, is enlarged to the input | none: the whole slice
    mask:
      output: logits             # name of the graph's output, (n, classes, size, size)
      labels: [right, left]      # of classes 1, 2, …: right, left, or both (of a network that does not tell them apart)
      batch: 8
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.session import Session
from pipelines.blocks.lungs_ct_classical import AIR_HU, reduced, told_apart

_SIDES = {"right": 1, "left": 2, "both": 1}


def segment(
    hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], session: Session, config: Mapping[str, Any]
) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return the lungs (uint8, 1 right, 2 left, the shape of ``hu``) and facts.

    Raises
    ------
    ValueError
        A label or crop that is not known, or an output without a class for every label.
    """
    wanted, said = config["preprocessing"], config["mask"]
    labels = list(said["labels"])
    if not set(labels) <= set(_SIDES) or wanted["crop"] not in ("body", "none"):
        raise ValueError(f"labels {labels} or crop {wanted['crop']} are not known. Known: right, left, both; body, none")
    side_of = np.array([0, *(_SIDES[name] for name in labels)], np.uint8)
    sides = np.zeros(hu.shape, np.uint8)
    (name,) = session.input_shapes
    for start in range(0, len(hu), int(said["batch"])):
        planes = hu[start : start + int(said["batch"])]
        boxes = [_box(plane) if wanted["crop"] == "body" else (0, plane.shape[0], 0, plane.shape[1]) for plane in planes]
        batch = np.stack([_prepared(plane[a:b, c:d], wanted) for plane, (a, b, c, d) in zip(planes, boxes, strict=True)])
        scores = session.run({name: batch[:, None]})[str(said["output"])]
        if scores.shape[1] != len(side_of):
            raise ValueError(f"the network has {scores.shape[1]} classes, its bundle names {len(side_of)} with the background")
        for k, (best, (a, b, c, d)) in enumerate(zip(scores.argmax(1), boxes, strict=True)):
            small = side_of[best]
            sides[start + k, a:b, c:d] = cv2.resize(small, (d - c, b - a), interpolation=cv2.INTER_NEAREST)
    facts: dict[str, Any] = {"parted": "by the network"}
    if "both" in labels:
        coarse = reduced(sides.astype(np.float32), spacing_mm)
        parted, facts = told_apart((coarse.hu >= 0.5).astype(np.uint8), coarse.spacing_mm)
        for k, plane in enumerate(sides):
            side = cv2.resize(parted[k // coarse.step], plane.shape[::-1], interpolation=cv2.INTER_NEAREST)
            plane *= np.where(side == 2, np.uint8(2), np.uint8(1))
    return sides, facts


def _prepared(plane: NDArray[np.float32], wanted: Mapping[str, Any]) -> NDArray[np.float32]:
    size = int(wanted["size"])
    low, high = (float(v) for v in wanted["window_hu"])
    to_low, to_high = (float(v) for v in wanted["range"])
    shrinks = max(plane.shape) > size
    small = cv2.resize(plane, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    share = np.clip((small - low) / (high - low), 0, 1)
    return np.asarray(to_low + share * (to_high - to_low), np.float32)


def _box(plane: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return rows and columns (first, end) of the largest piece that is not air: the body, not the table."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((plane > AIR_HU).astype(np.uint8), connectivity=4)
    if count < 2:
        return 0, plane.shape[0], 0, plane.shape[1]
    left, top, width, height, _ = (int(v) for v in stats[1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))])
    return top, top + height, left, left + width
