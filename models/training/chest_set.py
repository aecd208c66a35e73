"""The adults of the research set as a classifier sees them: prepared and cropped, with lung masks on the network's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.augment import borrow_histogram, geometry, look, paste_opacity, quantiles
from models.training.data import Row, prepare_all, to_network
from models.training.data import adult as adult
from models.training.lungs import Box, find_lungs

#: Share of under- and over-exposed images and the contrast below which CLAHE runs, as quantiles of the training part.
UNDER, OVER, FLAT = 0.01855, 0.99029, 0.25
CLASS_INDEX = {"tuberculosis": 0, "pneumonia": 1, "normal": 2}


@dataclass(frozen=True)
class ChestSet:
    """``images``: float32 (n, size, size), 0..1, not normalised. ``lungs``: float32, same grid. ``mean``, ``spread``: (n,)."""

    rows: list[Row]
    images: NDArray[np.float32]
    lungs: NDArray[np.float32]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    config: dict[str, Any]
    without_lungs: int

    def of(self, *parts: str) -> NDArray[np.intp]:
        """Return the indices of the rows in these parts."""
        return np.flatnonzero([row.part in parts for row in self.rows])

    def normalised(self, indices: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return (n, 1, size, size) as the graph wants it."""
        return ((self.images[indices] - self.config["mean"]) / self.config["std"]).astype(np.float32)[:, None]


def load(
    data: Path, rows: Sequence[Row], lungs_bundle: Path, base: dict[str, Any], config: dict[str, Any] | None = None
) -> ChestSet:
    """Prepare every row. Without ``config`` its data-driven numbers (exposure, CLAHE, mean, std) come from the train part.

    ``base``: the ``preprocessing`` without those numbers.
    """
    kept = list(rows)
    boxes, masks, lost = find_lungs(lungs_bundle, data, kept)
    if config is None:
        config = _fitted(data, kept, boxes, base)
    plain = {key: value for key, value in config.items() if key not in ("mean", "std")}
    images, done = prepare_all(data, kept, plain, boxes)
    lungs = np.stack([to_network(mask, prepared) for mask, prepared in zip(masks, done, strict=True)])
    if "mean" not in config:
        train = images[[row.part == "train" for row in kept]]
        config = {**config, "mean": float(train.mean(dtype=np.float64)), "std": float(train.std(dtype=np.float64))}
    mean, spread = (np.array([prepared.record[key] for prepared in done]) for key in ("mean", "spread"))
    return ChestSet(kept, images, lungs, mean, spread, config, lost)


def _fitted(data: Path, rows: Sequence[Row], boxes: Sequence[Box], base: dict[str, Any]) -> dict[str, Any]:
    train = [index for index, row in enumerate(rows) if row.part == "train"]
    _, done = prepare_all(data, [rows[i] for i in train], base, [boxes[i] for i in train])
    mean = [prepared.record["mean"] for prepared in done]
    spread = [prepared.record["spread"] for prepared in done]
    return {
        **base,
        "exposure": {"low": float(np.quantile(mean, UNDER)), "high": float(np.quantile(mean, OVER))},
        "clahe": {**base.get("clahe_limits", {"clip_limit": 2.0, "tiles": 8}), "below": float(np.quantile(spread, FLAT))},
    }


def batches(
    chest: ChestSet, chosen: NDArray[np.intp], steps: int, size: int, seed: int, pasted: float = 0.25
) -> Iterator[tuple[Tensor, ...]]:
    """Yield image (N, 1, S, S), abnormal (N,) and class (N,), -1 where the class is not to be learned.

    Half of a batch is drawn from normals and half from the rest, within each every source and view alike. Of the normals a share
    ``pasted`` gets an artificial opacity and becomes abnormal: the one cue that no hospital owns. Every second image borrows the
    histogram of any other one.
    """
    rng = np.random.default_rng(seed)
    curves = np.stack([quantiles(chest.images[i]) for i in chosen])
    groups: dict[int, dict[tuple[str, str], list[int]]] = {0: {}, 1: {}}
    for at, index in enumerate(chosen):
        row = chest.rows[index]
        key = (row.source, "PA" if row.view == "PA" else "AP")
        groups[row.abnormal].setdefault(key, []).append(at)
    # a group of a handful must not be seen a hundred times
    weights = {label: np.array([min(len(members), 60.0) for members in named.values()]) for label, named in groups.items()}
    members = {label: list(named.values()) for label, named in groups.items()}
    normal_share = 0.5 / (1 - pasted / 2)
    for _ in range(steps):
        x = np.zeros((size, 1, *chest.images.shape[1:]), np.float32)
        y, c = np.zeros(size, np.float32), np.full(size, -1, np.int64)
        for n in range(size):
            label = int(rng.random() >= normal_share) if members[0] and members[1] else int(not members[0])
            group = members[label][rng.choice(len(members[label]), p=weights[label] / weights[label].sum())]
            at = group[rng.integers(len(group))]
            index = chosen[at]
            image = chest.images[index]
            if rng.random() < 0.5:
                image = borrow_histogram(image, curves[at], curves[rng.integers(len(curves))])
            image, lungs = geometry(rng, image, chest.lungs[index])
            y[n], c[n] = label, CLASS_INDEX.get(chest.rows[index].label, -1)
            if label == 0 and rng.random() < pasted:
                image, y[n], c[n] = paste_opacity(rng, image, lungs), 1.0, -1
            x[n, 0] = (look(rng, image) - chest.config["mean"]) / chest.config["std"]
        yield torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(c)
