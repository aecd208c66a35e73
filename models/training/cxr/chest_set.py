"""The adults of the research set as a classifier sees them: prepared and cropped, with lung masks on the network's grid."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.training.cxr.augment import borrow_histogram, geometry, heavy_look, look, paste_opacity, quantiles
from models.training.cxr.remedies import AS_BEFORE, Remedies
from models.training.data import Row, index_hash, prepare_all, split_hash, to_network
from models.training.data import adult as adult
from models.training.kept_fits import Arrays, kept
from models.training.lungs import Box, find_lungs
from pipelines.blocks.prepare_cxr import only_lungs

#: Share of under- and over-exposed images and the contrast below which CLAHE runs, as quantiles of the training part.
UNDER, OVER, FLAT = 0.01855, 0.99029, 0.25
CLASS_INDEX = {"tuberculosis": 0, "pneumonia": 1, "normal": 2}


@dataclass(frozen=True)
class ChestSet:
    """``images``: float32 (n, size, size), 0..1, not normalised. ``lungs``: float32, same grid. ``mean``, ``spread``: (n,).

    Images are whole, whether the network sees lungs alone (``config["outside"]``) or not: ``ready`` makes them so.
    """

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
        return self.ready(self.images[indices], indices)

    def ready(self, images: NDArray[np.float32], indices: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return what the graph wants of changed images (n, size, size), 0..1, whose lungs are those of ``indices``."""
        outside = self.config.get("outside")
        if outside:
            images = np.stack([only_lungs(x, self.lungs[i], **outside) for x, i in zip(images, indices, strict=True)])
        return ((images - self.config["mean"]) / self.config["std"]).astype(np.float32)[:, None]


def load(
    data: Path, rows: Sequence[Row], lungs_bundle: Path, base: dict[str, Any], config: dict[str, Any] | None = None
) -> ChestSet:
    """Prepare every row. Without ``config`` its data-driven numbers (exposure, CLAHE, mean, std) come from the train part.

    ``base``: the ``preprocessing`` without those numbers.
    """
    rows = list(rows)
    boxes, masks, lost = find_lungs(lungs_bundle, data, rows)
    if config is None:
        config = _fitted(data, rows, boxes, base)
    plain = {key: value for key, value in config.items() if key not in ("mean", "std", "outside")}
    images, done = prepare_all(data, rows, plain, boxes)
    lungs = np.stack([to_network(mask, prepared) for mask, prepared in zip(masks, done, strict=True)])
    if "mean" not in config:
        train = images[[row.part == "train" for row in rows]]
        config = {**config, "mean": float(train.mean(dtype=np.float64)), "std": float(train.std(dtype=np.float64))}
    mean, spread = (np.array([prepared.record[key] for prepared in done]) for key in ("mean", "spread"))
    return ChestSet(rows, images, lungs, mean, spread, config, lost)


def load_once(data: Path, rows: Sequence[Row], lungs_bundle: Path, base: dict[str, Any], work: Path) -> ChestSet:
    """Return what ``load`` gives; a folder keeps it, so that a recipe which was stopped need not prepare again."""
    facts = {
        "index": index_hash(data),
        "rows": split_hash(rows),
        "lungs": hashlib.sha256((lungs_bundle / "model.onnx").read_bytes()).hexdigest(),
        "base": base,
    }

    def make() -> Arrays:
        made = load(data, rows, lungs_bundle, base)
        arrays = {name: getattr(made, name) for name in ("images", "lungs", "mean", "spread")}
        return {**arrays, "config": np.array(json.dumps(made.config)), "without": np.array(made.without_lungs)}

    stored = kept(work, "images", facts, make)
    images, lungs, mean, spread = (stored[name] for name in ("images", "lungs", "mean", "spread"))
    return ChestSet(list(rows), images, lungs, mean, spread, json.loads(str(stored["config"])), int(stored["without"]))


def _fitted(data: Path, rows: Sequence[Row], boxes: Sequence[Box], base: dict[str, Any]) -> dict[str, Any]:
    train = [index for index, row in enumerate(rows) if row.part == "train"]
    plain = {key: value for key, value in base.items() if key != "outside"}
    _, done = prepare_all(data, [rows[i] for i in train], plain, [boxes[i] for i in train])
    mean = [prepared.record["mean"] for prepared in done]
    spread = [prepared.record["spread"] for prepared in done]
    return {
        **base,
        "exposure": {"low": float(np.quantile(mean, UNDER)), "high": float(np.quantile(mean, OVER))},
        "clahe": {**base.get("clahe_limits", {"clip_limit": 2.0, "tiles": 8}), "below": float(np.quantile(spread, FLAT))},
    }


def group_of(row: Row) -> tuple[str, str]:
    """Return source and view: what is drawn alike within a label."""
    return row.source, "PA" if row.view == "PA" else "AP"


def shares(groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return how often each group is drawn: alike, but a group of a handful must not be seen a hundred times."""
    weights = np.array([min(len(members), 60.0) for members in groups])
    return np.asarray(weights / weights.sum())


def copy_of(
    rng: np.random.Generator,
    image: NDArray[np.float32],
    lungs: NDArray[np.float32],
    curves: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    paste: bool,
    remedies: Remedies,
) -> tuple[NDArray[np.float32], bool]:
    """Return an augmented copy (size, size) with values 0..1, and whether an opacity was really pasted into it.

    ``curves``: the quantiles of this image and of the one whose histogram it borrows. Without lung pixels nothing is pasted.
    """
    if curves is not None:
        image = borrow_histogram(image, *curves)
    image, lungs = geometry(rng, image, lungs)
    paste = paste and bool((lungs > 0.5).any())
    if paste:
        image = paste_opacity(rng, image, lungs)
    image = {"none": _as_it_is, "mild": look, "heavy": heavy_look}[remedies.photometric](rng, image)
    return (only_lungs(image, lungs) if remedies.masked else image), paste


def _as_it_is(_: np.random.Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.clip(image, 0, 1)


def batches(
    chest: ChestSet, chosen: NDArray[np.intp], steps: int, size: int, seed: int, remedies: Remedies = AS_BEFORE
) -> Iterator[tuple[Tensor, ...]]:
    """Yield image (N, 1, S, S), abnormal (N,), class (N,), -1 where the class is not to be learned, and group (N,).

    Balanced, half of a batch is drawn from normals and half from the rest, within each every source and view alike. Of the normals
    a share ``remedies.pasted`` gets an artificial opacity and becomes abnormal: the one cue that no hospital owns. Every second
    image borrows the histogram of any other one. ``group``: number of the image's source among the sorted sources.
    """
    rng = np.random.default_rng(seed)
    curves = np.stack([quantiles(chest.images[i]) for i in chosen])
    sources = sorted({row.source for row in chest.rows})
    groups: dict[int, dict[tuple[str, str], list[int]]] = {0: {}, 1: {}}
    for at, index in enumerate(chosen):
        groups[chest.rows[index].abnormal].setdefault(group_of(chest.rows[index]), []).append(at)
    members = {label: list(named.values()) for label, named in groups.items()}
    weights = {label: shares(listed) if listed else None for label, listed in members.items()}
    normal_share = 0.5 / (1 - remedies.pasted / 2)
    for _ in range(steps):
        x = np.zeros((size, 1, *chest.images.shape[1:]), np.float32)
        y, c, g = np.zeros(size, np.float32), np.full(size, -1, np.int64), np.zeros(size, np.int64)
        for n in range(size):
            if remedies.balanced:
                label = int(rng.random() >= normal_share) if members[0] and members[1] else int(not members[0])
                group = members[label][rng.choice(len(members[label]), p=weights[label])]
                at = group[rng.integers(len(group))]
            else:
                at = int(rng.integers(len(chosen)))
            index = chosen[at]
            row = chest.rows[index]
            borrowed = (curves[at], curves[rng.integers(len(curves))]) if remedies.histogram and rng.random() < 0.5 else None
            paste = row.abnormal == 0 and rng.random() < remedies.pasted
            image, pasted = copy_of(rng, chest.images[index], chest.lungs[index], borrowed, paste, remedies)
            y[n], c[n] = max(row.abnormal, pasted), -1 if pasted else CLASS_INDEX.get(row.label, -1)
            x[n, 0], g[n] = (image - chest.config["mean"]) / chest.config["std"], sources.index(row.source)
        yield torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(c), torch.from_numpy(g)
