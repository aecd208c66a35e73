"""What readers shall look at next, ``next.csv``: the next fold's patients with what the network says and where its map lies."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.hitl.cases import soft_label
from models.training.hitl.protocol import Scores, Shown
from models.training.hitl.site_cohort import Scan, SiteCohort
from models.training.hitl.site_index import Row
from pipelines.blocks.key_slices import key_slices

FILE = "next.csv"
SLICES = 3
COLUMNS = ("patient_id", "series", "readers", "mean_first_read", "probability", "slice", "image", "column", "row", "share_of_map")


def write(
    folder: Path, names: Sequence[str], rows: Mapping[str, Row], cohort: SiteCohort, scores: Mapping[str, Scores],
    shown: Mapping[str, Shown],
) -> Path:  # fmt: skip
    """Write a line a slice on which the map is strongest (one without a place where a map is empty); return the file.

    ``image``: SOP Instance UID and frame. ``column``, ``row``: where the map is strongest, in pixels of the image as stored.
    """
    path = folder / FILE
    with path.open("w", newline="", encoding="utf-8") as handle:
        lines = csv.writer(handle)
        lines.writerow(COLUMNS)
        for name in names:
            about = (
                name,
                rows[name].series,
                len(scores[name]),
                f"{soft_label(scores[name]):.3f}",
                f"{shown[name].probability:.3f}",
            )
            for place in strongest(shown[name].heatmap, cohort.scan(name)) or [("", "", "", "", "")]:
                lines.writerow((*about, *place))
    return path


def strongest(heatmap: NDArray[np.float32], scan: Scan) -> list[tuple[str, str, str, str, str]]:
    """Return slice (from 1, feet to head), image, column, row and share of the map of the slices that hold most of it."""
    planes = [scan.prepared.plane_at(heatmap, n) for n in range(len(scan.images))]
    energy = [float(plane.sum()) for plane in planes]
    layer = max(1, round(scan.prepared.scale[0] * scan.prepared.network_input.shape[2] / len(heatmap)))
    found = []
    for n in key_slices(energy, [bool(image) for image in scan.images], SLICES, layer):
        i, j = np.unravel_index(int(np.argmax(planes[n])), planes[n].shape)
        (_, sy, sx), (_, oy, ox) = scan.prepared.scale, scan.prepared.offset
        height, width = scan.prepared.network_input.shape[3:]
        y = (i + 0.5) * sy * height / planes[n].shape[0] - 0.5 + oy
        x = (j + 0.5) * sx * width / planes[n].shape[1] - 0.5 + ox
        column, row = scan.on_image(float(x), float(y), n)
        found.append((str(n + 1), str(scan.images[n]), f"{column:.0f}", f"{row:.0f}", f"{energy[n] / sum(energy):.3f}"))
    return found
