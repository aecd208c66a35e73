"""The research set: its index, its splits, and its images as the node itself would prepare them.

A folder has ``index.csv`` (one row an image: ``image_id, file, label, source, patient_id, view, split_group, lung_mask_file, age``
and more), ``images/`` and ``lung_masks/``. Arrays are prepared by ``pipelines.blocks.prepare_cxr``, the module of the node.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.blocks.prepare_cxr import Prepared, on_network, prepare

#: The key of the split hash is published on purpose: it only has to be the same for ever.
SPLIT_KEY = b"cxr-split-1"
CALIBRATION_BUCKETS = 25  # of 100: a quarter of the train patients fits the policy
SELECTION_BUCKETS = 10  # another tenth chooses the model and the temperature


ADULT_YEARS = 18.0


@dataclass(frozen=True)
class Row:
    """One radiograph of the set. ``part``: train, selection, calibration or test."""

    image_id: str
    file: str
    label: str  # normal | pneumonia | tuberculosis | other
    source: str
    patient: str
    view: str
    part: str
    licence: str = ""
    lung_mask: str = ""
    age: float | None = None

    @property
    def abnormal(self) -> int:
        """1 unless the label is normal."""
        return int(self.label != "normal")


def adult(row: Row) -> bool:
    """Say whether the image is of an adult, as far as the index knows: one source is of small children throughout."""
    return row.source != "kermany_pediatric" and not (row.age is not None and row.age < ADULT_YEARS)


def part_of(patient: str, split_group: str) -> str:
    """Return the part a patient belongs to, for ever: HMAC-SHA256 of the patient, modulo 100.

    ``test`` stays test; ``val`` is policy calibration with a quarter of the train patients; another tenth selects.
    """
    if split_group == "test":
        return "test"
    if split_group == "val":
        return "calibration"
    bucket = int.from_bytes(hmac.new(SPLIT_KEY, patient.encode(), hashlib.sha256).digest()[:8], "big") % 100
    if bucket < CALIBRATION_BUCKETS:
        return "calibration"
    return "selection" if bucket < CALIBRATION_BUCKETS + SELECTION_BUCKETS else "train"


def read_index(data: Path) -> list[Row]:
    """Return every row of ``index.csv``, in its order."""
    with (Path(data) / "index.csv").open(newline="", encoding="utf-8") as handle:
        return [_row(entry) for entry in csv.DictReader(handle)]


def _row(entry: Mapping[str, str]) -> Row:
    try:
        age: float | None = float(entry.get("age") or "")
    except ValueError:
        age = None
    return Row(
        image_id=entry["image_id"],
        file=entry["file"],
        label=entry["label"],
        source=entry["source"],
        patient=entry["patient_id"],
        view=entry["view"],
        part=part_of(entry["patient_id"], entry["split_group"]),
        licence=entry.get("licence", ""),
        lung_mask=entry.get("lung_mask_file", ""),
        age=age,
    )


def read_gray(data: Path, file: str) -> NDArray[np.float32]:
    """Return one image as float32 (rows, columns), brighter = more attenuation (all of the set are stored so)."""
    image = cv2.imread(str(Path(data) / file), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise FileNotFoundError(f"{file} is missing or not an image")
    return np.asarray(image, np.float32)


def to_network(mask: NDArray[Any], prepared: Prepared) -> NDArray[np.float32]:
    """Bring a mask from the source grid to the network's (bilinear): float32 (size, size), 0..1."""
    return on_network(mask, prepared.affine, prepared.network_input.shape[-1])


def prepare_all(
    data: Path,
    rows: Sequence[Row],
    config: Mapping[str, Any],
    lung_boxes: Sequence[tuple[float, float, float, float]] | None = None,
    lungs: Sequence[NDArray[Any]] | None = None,
) -> tuple[NDArray[np.float32], list[Prepared]]:
    """Return (n, size, size) network inputs and what the preparation recorded. ``lungs``: masks on the source grid."""
    size = int(config["size"])
    images = np.zeros((len(rows), size, size), np.float32)
    records: list[Prepared] = []
    for index, row in enumerate(rows):
        box = lung_boxes[index] if lung_boxes is not None else None
        done = prepare(read_gray(data, row.file), config, box, lungs=lungs[index] if lungs is not None else None)
        images[index] = done.network_input[0, 0]
        records.append(done)
    return images, records


def thumbnails(data: Path, rows: Sequence[Row], side: int = 16) -> NDArray[np.float64]:
    """Return (n, side*side) box-averaged grey values / 255: all that the baseline sees."""
    from PIL import Image

    values = np.zeros((len(rows), side * side))
    for index, row in enumerate(rows):
        with Image.open(Path(data) / row.file) as image:
            values[index] = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX), np.float64).ravel() / 255
    return values


def split_hash(rows: Sequence[Row]) -> str:
    """Return the SHA-256 of which image lies in which part: names a cohort without naming a patient."""
    lines = sorted(f"{row.image_id} {row.part}" for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def counts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return images and patients by part, source and label: the balance table of the card."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.part, row.source, row.label), []).append(row)
    return [
        {"part": part, "source": source, "label": label, "images": len(group), "patients": len({r.patient for r in group})}
        for (part, source, label), group in sorted(groups.items())
    ]


def licences(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the licences named in the index, by source."""
    named: dict[str, set[str]] = {}
    for row in rows:
        named.setdefault(row.source, set()).add(row.licence or "not stated")
    return {source: sorted(texts) for source, texts in sorted(named.items())}


def index_hash(data: Path) -> str:
    """Return the SHA-256 of ``index.csv``."""
    return hashlib.sha256((Path(data) / "index.csv").read_bytes()).hexdigest()
