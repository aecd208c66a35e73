"""Does a map point at what a radiologist boxed? Three figures, and what a guess at the middle of the lungs would reach.

A box is (x, y, width, height) in pixels of the map's grid; a pixel's centre is its integer coordinate plus one half. Maps are float
(rows, columns), not negative, at the image's own size. An all-zero map points nowhere: it misses every box and has no energy.

Pointing game: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016 (without its 15 pixel tolerance).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.training.statistics import mean_by_patient, wilson

Box = tuple[float, float, float, float]
Map = NDArray[np.floating[Any]]


def boxes_of(text: str) -> tuple[Box, ...]:
    """Return the boxes of an index's ``boxes`` column: a JSON list of objects with x, y, w and h. Empty text: none.

    Raises
    ------
    ValueError
        The text is not such a list, or a box has no area.
    """
    if not text.strip():
        return ()
    try:
        found = tuple((float(box["x"]), float(box["y"]), float(box["w"]), float(box["h"])) for box in json.loads(text))
    except (TypeError, KeyError, json.JSONDecodeError) as error:
        raise ValueError("boxes are a JSON list of objects with x, y, w and h") from error
    if any(w <= 0 or h <= 0 for _, _, w, h in found):
        raise ValueError("a box has no area")
    return found


def inside(boxes: Sequence[Box], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return (rows, columns): whether a pixel's centre lies in any of the boxes."""
    y, x = (np.arange(n) + 0.5 for n in shape)
    mask = np.zeros(shape, bool)
    for left, top, width, height in boxes:
        mask |= ((y >= top) & (y < top + height))[:, None] & ((x >= left) & (x < left + width))[None, :]
    return mask


def strongest(values: Map) -> tuple[float, float] | None:
    """Return the (x, y) of the highest value, the middle of a plateau's points; ``None`` for a map without evidence."""
    highest = float(values.max(initial=0.0))
    if highest <= 0:
        return None
    rows, columns = np.nonzero(values >= highest * (1 - 1e-6))
    return float(columns.mean() + 0.5), float(rows.mean() + 0.5)


def points_at(point: tuple[float, float] | None, boxes: Sequence[Box]) -> bool:
    """Say whether a point (x, y) lies in a box; no point lies in none."""
    if point is None:
        return False
    x, y = point
    return any(left <= x < left + width and top <= y < top + height for left, top, width, height in boxes)


def energy_in_boxes(values: Map, boxes: Sequence[Box]) -> float:
    """Return the share of the map's sum that lies in the boxes, 0..1; 0 for a map without evidence."""
    total = float(values.sum(dtype=np.float64))
    return float(values[inside(boxes, _shape(values))].sum(dtype=np.float64)) / total if total > 0 else 0.0


def iou_at_top(values: Map, boxes: Sequence[Box], share: float = 0.1) -> float:
    """Return intersection over union of the boxes and the map's highest ``share`` of pixels, those with evidence only."""
    if not 0 < share <= 1:
        raise ValueError(f"the share of pixels must lie in 0..1, found {share:g}")
    wanted = inside(boxes, _shape(values))
    chosen = (values >= np.quantile(values, 1 - share)) & (values > 0)
    union = int((wanted | chosen).sum())
    return int((wanted & chosen).sum()) / union if union else 0.0


def centre_of_lungs(mask: NDArray[Any]) -> tuple[float, float]:
    """Return the (x, y) of the lungs' centre of mass; of an empty mask the middle of the image."""
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return mask.shape[1] / 2, mask.shape[0] / 2
    return float(columns.mean() + 0.5), float(rows.mean() + 0.5)


def centres_of_lungs(mask: NDArray[Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the (x, y) of the middle of each lung, image left first: the halves of the mask beside its own centre."""
    middle = centre_of_lungs(mask)[0]
    columns = np.arange(mask.shape[1]) + 0.5
    return centre_of_lungs(mask * (columns < middle)), centre_of_lungs(mask * (columns >= middle))


def _shape(values: Map) -> tuple[int, int]:
    return int(values.shape[0]), int(values.shape[1])


def localisation_table(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures over boxed images, each beside its baseline.

    Parameters
    ----------
    cases
        One boxed image each: ``patient``, ``map`` (rows, columns), ``boxes``, ``lungs`` (rows, columns) 0/1.

    Returns
    -------
    dict
        ``pointing``: hits of the map; ``centre_of_lungs``: hits of the centre of both lungs together, which lies in the
        mediastinum; ``middle_of_a_lung``: hits of the better guess, the middle of the lung that the map's highest value lies in;
        each with n and Wilson's interval, the first image of a patient only. ``energy_in_boxes`` and ``iou_at_top_10``: mean with
        a patient-bootstrap interval; ``box_area``: what an even map would have as energy.
    """
    if not cases:
        return {"images": 0}
    patients = [str(case["patient"]) for case in cases]
    first = [n for n, patient in enumerate(patients) if patient not in patients[:n]]
    hits: dict[str, list[bool]] = {"pointing": [], "centre_of_lungs": [], "middle_of_a_lung": []}
    energy, overlap, area = [], [], []
    for case in cases:
        values, boxes, lungs = case["map"], case["boxes"], np.asarray(case["lungs"])
        point = strongest(values)
        middle = centre_of_lungs(lungs)
        left, right = centres_of_lungs(lungs)
        hits["pointing"].append(points_at(point, boxes))
        hits["centre_of_lungs"].append(points_at(middle, boxes))
        hits["middle_of_a_lung"].append(points_at(left if point is None or point[0] < middle[0] else right, boxes))
        energy.append(energy_in_boxes(values, boxes))
        overlap.append(iou_at_top(values, boxes))
        area.append(float(inside(boxes, _shape(values)).mean()))
    table: dict[str, Any] = {"images": len(cases), "patients": len(first)}
    for name, each in hits.items():
        count = sum(each[n] for n in first)
        table[name] = {"hits": count, "n": len(first), "wilson": list(wilson(count, len(first)))}
    if len(first) > 1:
        table["energy_in_boxes"] = list(mean_by_patient(energy, patients))
        table["iou_at_top_10"] = list(mean_by_patient(overlap, patients))
        table["box_area"] = list(mean_by_patient(area, patients))
    return table
