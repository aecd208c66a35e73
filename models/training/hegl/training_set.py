"""What attention-aligned training reads: maps of the frozen stem, labels of several findings, and where people marked them.

The stem of the twin is never trained, so every image goes through it once, plain, and a few times changed (flip, turn, gamma, blur,
JPEG, another image's histogram, pasted opacities); the maps are kept in a file. Masks lie on the grid of the tokens.

Marks: a radiologist's box, or an opacity that was pasted by computer, where it lies; either weighs 1 (ours). Where a finding is
present and nobody marked it, the lungs are known: weak, for they say only that it lies somewhere in there. See ``hegl_train``.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.training.cxr.augment import borrow_histogram, geometry, look, paste_opacity, quantiles
from models.training.cxr.chest_set import ChestSet
from models.training.data import SPLIT_KEY, Row, read_gray, to_network
from models.training.localisation import Box, boxes_of, inside
from models.training.lungs import find_lungs
from pipelines.blocks.prepare_cxr import Prepared, prepare

#: The finding that decides, the one of the boxes, and those of the reports' words with enough adults (``LEAST`` patients).
CLASSES = ("abnormal", "pneumonia", "infiltration", "atelectasis", "edema", "effusion")
LEAST = 50
REPORTED = "nih_cxr14"  # the one source whose labels are words of reports
BOXED = ("abnormal", "pneumonia")
BOX_WEIGHT, PASTED_WEIGHT = 1.0, 1.0
FOLDS = 5
PLAIN, CHANGED, PASTED = 0, 1, 2

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Boxed:
    """One image with a radiologist's boxes: ``boxes`` in pixels of the source, ``lungs`` uint8 on its grid."""

    index: int
    boxes: tuple[Box, ...]
    lungs: NDArray[np.uint8]
    prepared: Prepared


@dataclass(frozen=True)
class HeglSet:
    """``maps``: float16 (m, K, h, w). ``lungs``, ``marks``: float32 (m, h, w), 0..1. ``owner``: (m,) row. ``kind``: (m,).

    ``labels``: int8 (n, C), 1, 0, -1 unknown. ``boxed``: by row. The first n maps are the plain images, in the rows' order.
    """

    rows: list[Row]
    labels: NDArray[np.int8]
    boxed: dict[int, Boxed]
    maps: NDArray[np.float16]
    lungs: Floats
    marks: Floats
    owner: NDArray[np.intp]
    kind: NDArray[np.int8]

    def of(self, *parts: str) -> NDArray[np.intp]:
        """Return the rows in these parts."""
        return np.flatnonzero([row.part in parts for row in self.rows])


class Batch(NamedTuple):
    """``maps`` (N, K, h, w), ``labels`` (N, C), ``marks`` (N, C, h, w) with ``weights`` (N, C), 0 unmarked, ``lungs`` (N, h, w)."""

    maps: Tensor
    labels: Tensor
    marks: Tensor
    weights: Tensor
    lungs: Tensor


def fold_of(patient: str) -> int:
    """Return the fold of a patient, 0..4, for ever the same."""
    digest = hmac.new(SPLIT_KEY, f"fold {patient}".encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


def label_row(row: Row, finding_words: str) -> list[int]:
    """Return a row's labels in the order of ``CLASSES``. What a source does not tell is unknown, not absent."""
    if row.label == "normal":
        return [0] * len(CLASSES)
    words = {word.strip().lower() for word in finding_words.split("|")}
    if row.source == REPORTED:
        return [1, *(int(name in words) for name in CLASSES[1:])]
    pneumonia = {"pneumonia": 1, "other": 0}.get(row.label, -1)
    return [1, pneumonia, *([-1] * (len(CLASSES) - 2))]


def index_columns(data: Path) -> dict[str, tuple[str, tuple[Box, ...]]]:
    """Return finding words and boxes by image; absent columns are empty."""
    with (Path(data) / "index.csv").open(newline="", encoding="utf-8") as handle:
        return {e["image_id"]: (e.get("subtype") or "", boxes_of(e.get("boxes") or "")) for e in csv.DictReader(handle)}


def boxed_images(data: Path, rows: Sequence[Row], lungs_bundle: Path, config: dict[str, Any]) -> dict[int, Boxed]:
    """Return the boxed rows by index, with the lungs and the way from the network's grid to the source's."""
    columns = index_columns(data)
    chosen = [n for n, row in enumerate(rows) if columns[row.image_id][1]]
    if not chosen:
        return {}
    around, masks, _ = find_lungs(lungs_bundle, data, [rows[n] for n in chosen])
    found = {}
    for n, box, mask in zip(chosen, around, masks, strict=True):
        prepared = prepare(read_gray(data, rows[n].file), config, box, lungs=mask)
        found[n] = Boxed(n, columns[rows[n].image_id][1], (mask > 0).astype(np.uint8), prepared)
    return found


def load(
    data: Path, chest: ChestSet, lungs_bundle: Path, stem: nn.Module, kept: Path, changed: int = 3, seed: int = 31, stride: int = 16
) -> HeglSet:
    """Pass every image through the frozen stem, or read what an earlier call kept.

    ``changed``: copies of each image of the parts train and selection; their normals get one more, with a pasted opacity.
    """
    columns = index_columns(data)
    labels = np.array([label_row(row, columns[row.image_id][0]) for row in chest.rows], np.int8)
    boxed = boxed_images(data, chest.rows, lungs_bundle, chest.config)
    shape = chest.images.shape[1:]
    boxes = np.zeros_like(chest.lungs)
    for n, one in boxed.items():
        boxes[n] = to_network(inside(one.boxes, one.prepared.source_shape), one.prepared)
    arrays = _read(kept, _name(chest, stem, changed, seed))
    if arrays is None:
        arrays = _passed(chest, boxes, stem, changed, seed, (shape[0] // stride, shape[1] // stride))
        _write(kept, arrays, _name(chest, stem, changed, seed))
    return HeglSet(chest.rows, labels, boxed, *arrays)


def _passed(
    chest: ChestSet, boxes: Floats, stem: nn.Module, changed: int, seed: int, grid: tuple[int, int]
) -> tuple[NDArray[np.float16], Floats, Floats, NDArray[np.intp], NDArray[np.int8]]:
    learn = [n for n, row in enumerate(chest.rows) if row.part in ("train", "selection")]
    jobs = [(n, PLAIN, 0) for n in range(len(chest.rows))]
    jobs += [(n, CHANGED, copy) for copy in range(changed) for n in learn]
    jobs += [(n, PASTED, 0) for n in learn if not chest.rows[n].abnormal]
    curves = np.stack([quantiles(chest.images[n]) for n in learn])
    maps, lungs, marks = [], [], []
    for start in range(0, len(jobs), 16):
        made = [
            _one(chest, boxes, n, kind, np.random.default_rng([seed, n, kind, copy]), curves)
            for n, kind, copy in jobs[start : start + 16]
        ]
        images = np.stack([image for image, _, _ in made])[:, None]
        x = torch.from_numpy(((images - chest.config["mean"]) / chest.config["std"]).astype(np.float32))
        with torch.no_grad():
            maps.append(stem(x.to(memory_format=torch.channels_last)).contiguous().numpy().astype(np.float16))
        lungs += [_small(mask, grid) for _, mask, _ in made]
        marks += [_small(mask, grid) for _, _, mask in made]
        if start % 640 == 0:
            print(f"stem: {start} of {len(jobs)} images", flush=True)
    owner, kind = (np.array([job[part] for job in jobs]) for part in (0, 1))
    return np.concatenate(maps), np.stack(lungs), np.stack(marks), owner.astype(np.intp), kind.astype(np.int8)


def _one(
    chest: ChestSet, boxes: Floats, n: int, kind: int, rng: np.random.Generator, curves: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return image, lungs and mark of one copy, on the network's grid."""
    image, lungs, mark = chest.images[n], chest.lungs[n], boxes[n]
    if kind == PLAIN:
        return image, lungs, mark
    if rng.random() < 0.5:
        image = borrow_histogram(image, quantiles(image), curves[rng.integers(len(curves))])
    image, lungs, mark = geometry(rng, image, lungs, mark)
    if kind == PASTED:
        plain = image
        image = paste_opacity(rng, plain, lungs)
        rise = image - plain
        mark = (rise > 0.25 * rise.max()).astype(np.float32) if rise.max() > 0 else np.zeros_like(rise)
    return look(rng, image), lungs, mark


def _small(mask: Floats, grid: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(np.asarray(mask, np.float32), (grid[1], grid[0]), interpolation=cv2.INTER_AREA), np.float32)


def batches(
    chosen: HeglSet, rows: NDArray[np.intp], steps: int, size: int, seed: int, pasted: float = 0.25, boxed: float = 0.12
) -> Iterator[Batch]:
    """Yield batches.

    Half of a batch is drawn from normals, half from the rest, within each every source and view alike up to 60 images. Of the
    normals a share ``pasted`` comes with a pasted opacity: abnormal then, all other findings unknown. Of the abnormal ones a share
    ``boxed`` is drawn from those with a radiologist's box, which are few.
    """
    rng = np.random.default_rng(seed)
    copies: dict[int, dict[int, list[int]]] = {}
    for at, (owner, kind) in enumerate(zip(chosen.owner, chosen.kind, strict=True)):
        copies.setdefault(int(owner), {}).setdefault(int(kind), []).append(at)
    groups: dict[int, dict[tuple[str, str], list[int]]] = {0: {}, 1: {}}
    for n in rows:
        row = chosen.rows[n]
        groups[row.abnormal].setdefault((row.source, "PA" if row.view == "PA" else "AP"), []).append(int(n))
    members = {label: list(named.values()) for label, named in groups.items()}
    shares = {label: np.array([min(len(m), 60.0) for m in each]) for label, each in members.items()}
    normal_share = 0.5 / (1 - pasted / 2)
    with_box = [int(n) for n in rows if int(n) in chosen.boxed]
    for _ in range(steps):
        picked = []
        for _ in range(size):
            label = int(rng.random() >= normal_share) if members[0] and members[1] else int(not members[0])
            if label and with_box and rng.random() < boxed:
                group = with_box
            else:
                group = members[label][rng.choice(len(members[label]), p=shares[label] / shares[label].sum())]
            own = copies[group[rng.integers(len(group))]]
            kind = PASTED if label == 0 and PASTED in own and rng.random() < pasted else int(rng.random() < 0.75)
            picked.append(own.get(kind, own[PLAIN])[rng.integers(len(own.get(kind, own[PLAIN])))])
        yield targets(chosen, np.array(picked))


def targets(chosen: HeglSet, at: NDArray[np.intp]) -> Batch:
    """Return the batch of these copies."""
    labels = chosen.labels[chosen.owner[at]].astype(np.int64)
    pasted = (chosen.kind[at] == PASTED) & (chosen.marks[at].max((1, 2)) > 0)  # without lung pixels nothing was pasted
    labels[pasted] = [1, *([-1] * (labels.shape[1] - 1))]
    marks = np.zeros((*labels.shape, *chosen.marks.shape[1:]), np.float32)
    weights = np.zeros(labels.shape, np.float32)
    for name in BOXED:
        c = CLASSES.index(name)
        marked = (labels[:, c] == 1) & (chosen.marks[at].max((1, 2)) > 0)
        marks[marked, c] = chosen.marks[at][marked]
        weights[marked, c] = np.where(pasted[marked], PASTED_WEIGHT, BOX_WEIGHT)
    arrays = chosen.maps[at].astype(np.float32), labels, marks, weights, chosen.lungs[at]
    return Batch(*(torch.from_numpy(array) for array in arrays))


def _name(chest: ChestSet, stem: nn.Module, changed: int, seed: int) -> str:
    weights = hashlib.sha256(b"".join(value.numpy().tobytes() for value in stem.state_dict().values())).hexdigest()
    asked = [weights, chest.config, changed, seed, *(f"{row.image_id} {row.part}" for row in chest.rows)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _read(kept: Path, name: str) -> Any:
    if not (kept / "name").exists() or (kept / "name").read_text() != name:
        return None
    return tuple(np.load(kept / f"{part}.npy") for part in ("maps", "lungs", "marks", "owner", "kind"))


def _write(kept: Path, arrays: Sequence[NDArray[Any]], name: str) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for part, array in zip(("maps", "lungs", "marks", "owner", "kind"), arrays, strict=True):
        np.save(kept / f"{part}.npy", array)
    (kept / "name").write_text(name)
