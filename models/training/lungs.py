"""Where the lungs are, by the lung bundle: boxes for cropping and masks for pasting, found by the node's own block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.bundle import load_bundle
from models.session import Session
from models.training.data import Row, read_gray
from pipelines.blocks.frontal_gate import load_gate
from pipelines.blocks.lungs import LungLimits, Lungs
from pipelines.blocks.lungs import find_lungs as find_in

Box = tuple[float, float, float, float]


def kept(probability: NDArray[np.float32], threshold: float, pieces: int) -> NDArray[np.bool_]:
    """Return the mask at or above ``threshold``, its largest ``pieces`` connected pieces only."""
    mask = (probability >= threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    largest = sorted(range(1, count), key=lambda n: -int(stats[n, cv2.CC_STAT_AREA]))[:pieces]
    return np.asarray(np.isin(labels, largest))


def find_lungs(bundle_folder: Path, data: Path, rows: Sequence[Row]) -> tuple[list[Box], list[NDArray[np.float32]], int]:
    """Return for every image its lung box, its mask on the source grid (float32 0/1), and how many the node would refuse.

    A refused image stays in training with whatever was found, in the worst case the whole image as its box.
    """
    bundle = load_bundle(bundle_folder)
    session = Session(bundle.model, threads=2, device="cpu")
    limits, gate = LungLimits(), load_gate(bundle.folder, bundle.sha256)

    def refused(lungs: Lungs) -> bool:
        return bool(lungs.problem) or (gate is not None and bool(gate.refusal(gate.judge(lungs), stated=True)[0]))

    found = [find_in(read_gray(data, row.file), session, bundle.config, limits) for row in rows]
    return [f.box for f in found], [f.mask.astype(np.float32) for f in found], sum(refused(f) for f in found)
