"""Network maps placed on the source image, and what a reader should know of them (where the energy lies).

Closed forms of Grad-CAM (Selvaraju et al., ICCV 2017) and Grad-CAM++ (Chattopadhay et al., WACV 2018) are outputs of the graph;
here they are only placed and measured. Values stay raw: an all-zero map means "no positive evidence" and is never stretched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.core import codes
from dicom_node.core.findings import SaliencyMap
from pipelines.blocks.prepare_cxr import Prepared, to_source


def place(
    finding_key: str,
    method_name: str,
    values: NDArray[np.float32],
    prepared: Prepared,
    sop_instance_uid: str,
    lungs: NDArray[np.uint8],
) -> SaliencyMap:
    """Return the map on the source grid with its share inside the lungs and in the outer 5 %.

    ``values``: float32 (h, w), raw network map. ``lungs``: uint8 (rows, columns) of the source.
    """
    placed = to_source(np.maximum(values, 0), prepared)
    total = float(placed.sum(dtype=np.float64))
    inside = float(placed[lungs > 0].sum(dtype=np.float64)) / total if total > 0 else None
    return SaliencyMap(
        finding_key, codes.GRAD_CAM, method_name, sop_instance_uid, placed, inside, border_share(placed) if total > 0 else None
    )


def border_share(values: NDArray[np.float32], margin: float = 0.05) -> float:
    """Return the share of the map's energy that lies in the outer ``margin`` of the image, 0..1 (0 for an empty map)."""
    total = float(values.sum(dtype=np.float64))
    rows, columns = values.shape
    dy, dx = max(1, round(rows * margin)), max(1, round(columns * margin))
    inner = float(values[dy : rows - dy, dx : columns - dx].sum(dtype=np.float64))
    return 0.0 if total <= 0 else max(0.0, 1.0 - inner / total)  # rounding may give -1e-16
