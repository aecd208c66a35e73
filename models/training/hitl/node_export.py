"""Answers of real physicians, from a training set that the node exported (``dicom-node learning export``).

``labels.jsonl`` has a line a label with every answer it was made of, ``rois.jsonl`` a line a region; what each column means stands
in ``docs/how-to/export-training-data.md``. A reader's first look is what they said before the model's answer was shown; looking
again is what they said after. Only answers that take a side are scores; an answer about the map alone is an answer to the map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.training.hitl.attention_target import Region
from models.training.hitl.cases import Case
from models.training.hitl.protocol import ReExamined
from pipelines.blocks.prepare_ct import PreparedVolume

ANSWERS = {"yes": 1, "no": -1}  # of ``map_relevant``; unsure, or not said, is 0
FIRST_CONTEXTS = ("blinded_first_read",)


@dataclass(frozen=True)
class DrawnRegion:
    """``image``: file of the export. ``frame``: from 1. ``points``: column and row in pixels; two are corners of a box."""

    image: str
    frame: int
    points: tuple[tuple[float, float], ...]
    sign: int
    reader: str


@dataclass(frozen=True)
class ExportedCase:
    """One finding of one result. ``first``, ``again``: score by reader. ``answers``: +1, -1, 0 to the map, by reader.

    ``bundles``: hash of the model whose answer the readers saw.
    """

    result: str
    patient: str
    split: str
    images: tuple[str, ...]
    finding: str
    label: float | None
    status: str
    probability: float | None
    first: Mapping[str, float]
    again: Mapping[str, float]
    answers: Mapping[str, int]
    regions: tuple[DrawnRegion, ...]
    bundles: tuple[str, ...] = ()

    def first_reads(self) -> Case:
        """Return the case as the protocol takes it: first looks, readers in order of their names."""
        return Case(self.result, self.patient, tuple(self.first[reader] for reader in sorted(self.first)))

    def re_examined(self, regions: Sequence[Region] = ()) -> ReExamined:
        """Return what its readers say now, with regions that were brought onto the targets' grid (``on_grid``).

        A reader who did not look again stands by what they said first.
        """
        readers = sorted({*self.first, *self.again})
        scores = tuple(self.again[r] if r in self.again else self.first[r] for r in readers)
        return ReExamined(scores, tuple(self.answers.get(r, 0) for r in readers), tuple(regions))


def read_export(folder: Path, finding: str, pipeline: str = "ct_ntm") -> list[ExportedCase]:
    """Return the cases of an export, in the order of its lines; regions of nobody's word (``weak``) are left out.

    Raises
    ------
    ValueError
        The folder is no export of a kind that is known here.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest.get("format") != "dicom-node training export, 1":
        raise ValueError(f"{folder} is no training export of a format that is known here: {manifest.get('format')!r}")
    drawn: dict[str, list[DrawnRegion]] = {}
    for line in _lines(folder / "rois.jsonl"):
        if line["strength"] == "strong" and line["finding"] in ("", finding):
            points = tuple((float(x), float(y)) for x, y in line["points"])
            region = DrawnRegion(line["image"], int(line["frame"]), points, int(line["sign"]), line["reader"])
            drawn.setdefault(line["result"], []).append(region)
    return [
        _case(line, drawn.get(line["result"], []))
        for line in _lines(folder / "labels.jsonl")
        if line["pipeline"] == pipeline and line["finding"] == finding
    ]


def on_grid(region: DrawnRegion, slice_index: int, prepared: PreparedVolume, grid: tuple[int, int, int]) -> Region:
    """Return the region on the grid of the targets: in the layer of its slice, as far as it fills each cell.

    Parameters
    ----------
    slice_index
        Which slice of the volume the image is, on whose own grid (not tilted, not mirrored) the points lie.
    prepared
        The volume as the network got it: its box, and how far that was shrunk.
    """
    rows, columns = prepared.source_shape[1:]
    plane = np.zeros((rows, columns), np.uint8)
    points = np.asarray(region.points)
    if len(points) == 2:
        (x0, x1), (y0, y1) = np.sort(points[:, 0]), np.sort(points[:, 1])
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    cv2.fillPoly(plane, [np.round(points).astype(np.int32)], 1)
    (oz, oy, ox), (sz, sy, sx) = prepared.offset, prepared.scale
    depth, height, width = prepared.network_input.shape[2:]
    box = plane[oy : oy + round(sy * height), ox : ox + round(sx * width)].astype(np.float32)
    where = np.zeros(grid, np.float32)
    layer = int(np.floor((slice_index + 0.5 - oz) / (sz * depth) * grid[0]))
    if 0 <= layer < grid[0] and box.size:
        where[layer] = cv2.resize(box, grid[:0:-1], interpolation=cv2.INTER_AREA)
    return Region(where, region.sign)


def _case(line: Mapping[str, Any], regions: Sequence[DrawnRegion]) -> ExportedCase:
    first: dict[str, float] = {}
    again: dict[str, float] = {}
    answers: dict[str, int] = {}
    for read in line["reads"]:  # in the order of the log: of several, the last stands
        reader = str(read.get("reader", ""))
        if read.get("map_relevant"):
            answers[reader] = ANSWERS.get(read["map_relevant"], 0)
        if read["value"] is not None:
            blinded = read.get("context") in FIRST_CONTEXTS or not read.get("ai_shown", True)
            (first if blinded else again)[reader] = float(read["value"])
    return ExportedCase(
        line["result"], line["patient"], line["split"], tuple(line["images"]), line["finding"], line["label"], line["status"],
        line["ai"]["probability"], first, again, answers, tuple(regions), tuple(line.get("bundles", ())),
    )  # fmt: skip


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
