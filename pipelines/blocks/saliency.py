"""Network maps placed on the source image, and what a reader should know of them (where the energy lies).

Closed forms of Grad-CAM (Selvaraju et al., ICCV 2017) and Grad-CAM++ (Chattopadhay et al., WACV 2018) are outputs of the graph;
here they are only placed and measured. Values stay raw: an all-zero map means "no positive evidence" and is never stretched.
Attention (of a query decoder) says where a network looked, not what spoke for the finding: DICOM's word for it is saliency.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dicom_node.core import codes
from dicom_node.core.findings import SaliencyMap, Spread
from pipelines.blocks.prepare_cxr import Prepared, spread_on_source

INSTABILITY = "Instability (standard deviation over noisy copies)"
#: Method of a map by its name, where it is not Grad-CAM (PS3.16, CID 217).
METHODS = {"Attention": codes.SALIENCY, "Smooth attention": codes.SALIENCY, INSTABILITY: codes.SALIENCY}


def place(
    finding_key: str,
    maps: Mapping[str, NDArray[np.float32]],
    prepared: Prepared,
    sop_instance_uid: str,
    lungs: NDArray[np.uint8],
) -> tuple[SaliencyMap, ...]:
    """Return the maps on the source grid, each with its share inside the lungs and in the outer 5 %.

    ``maps``: float32 (h, w), all of one shape, raw network maps by method. ``lungs``: uint8 (rows, columns) of the source.
    """
    spreads = {name: spread_on_source(np.maximum(values, 0), prepared) for name, values in maps.items()}
    if not spreads:
        return ()
    weights = energy_weights(next(iter(spreads.values())), lungs)  # of one shape and place, so the same for all
    return tuple(_placed(finding_key, name, spread, sop_instance_uid, weights) for name, spread in spreads.items())


def _placed(finding_key: str, method_name: str, spread: Spread, sop_instance_uid: str, weights: NDArray[np.float64]) -> SaliencyMap:
    total = _energy(spread.grid, spread.rows.sum(0, dtype=np.float64), spread.columns.sum(0, dtype=np.float64))
    inside = float((spread.grid * weights).sum()) / total if total > 0 else None
    return SaliencyMap(
        finding_key,
        METHODS.get(method_name, codes.GRAD_CAM),
        method_name,
        sop_instance_uid,
        spread,
        inside,
        border_share(spread) if total > 0 else None,
    )


def energy_weights(spread: Spread, mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (h, w): how much of each cell of the map lies where the mask is set.

    ``rows @ grid @ columns.T`` summed under a mask is ``grid`` weighted by ``rows.T @ mask @ columns``: nothing is written out.
    """
    return np.asarray(spread.rows.T @ (mask > 0).astype(np.float32) @ spread.columns, np.float64)


def border_share(spread: Spread, margin: float = 0.05) -> float:
    """Return the share of the map's energy that lies in the outer ``margin`` of the image, 0..1 (0 for an empty map)."""
    rows, columns = spread.shape
    dy, dx = max(1, round(rows * margin)), max(1, round(columns * margin))
    total = _energy(spread.grid, spread.rows.sum(0, dtype=np.float64), spread.columns.sum(0, dtype=np.float64))
    inner_rows = spread.rows[dy : rows - dy].sum(0, dtype=np.float64)
    inner_columns = spread.columns[dx : columns - dx].sum(0, dtype=np.float64)
    inner = _energy(spread.grid, inner_rows, inner_columns)
    return 0.0 if total <= 0 else max(0.0, 1.0 - inner / total)  # rounding may give -1e-16


def _energy(grid: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64]) -> float:
    return float(rows @ grid.astype(np.float64) @ columns)
