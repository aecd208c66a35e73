"""Evaluate a bundle on a list of images: ``dicom-node bundle evaluate``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from dicom_node.plugins import known_kinds, load_kind
from models.bundle import Bundle, load_bundle
from models.session import gpu_present
from models.training import thumbnail
from models.training.evaluate_bundle import figures, index, overlays, plots, report
from models.training.evaluate_bundle.index import IndexUnusable
from models.training.evaluate_bundle.reading import OPENED, Read, Reader, read_all
from models.training.json_text import as_json

AT_ONCE_ON_GPU = 16


def evaluate(
    bundle_folder: Path,
    index_file: Path,
    out: Path,
    needed: Callable[[str], Path],
    *,
    split: str = "test",
    data: Path | None = None,
    told: Callable[[int, int], None] = lambda _count, _all: None,
) -> dict[str, Any]:
    """Read the images, write ``metrics.json``, ``report.md``, plots and pictures into ``out``, return the figures.

    Parameters
    ----------
    needed
        Gives the folder of another bundle that the pipeline needs, by name.
    data
        The folder that ``file`` is relative to; without it the index's own.
    told
        Called after each image with its number and how many there are.

    Raises
    ------
    IndexUnusable
        Nothing can be read at all, or no pipeline is named as the bundle.
    models.bundle.BundleError
        A bundle is damaged.
    """
    bundle = load_bundle(bundle_folder)
    points = bundle.operating_points()
    pipeline = _pipeline_of(bundle, bool(points))
    listed = index.read(index_file, split)
    data = data or index_file.parent
    policy = next((name for name, point in points.items() if point["feasible"]), next(iter(points)))
    finding = str(points[policy].get("finding", "abnormal"))
    folders = {name: bundle.folder if name == bundle.name else needed(name) for name in pipeline.NEEDS}
    reader = Reader(pipeline, folders, policy)
    simple = thumbnail.read(bundle.folder) if (bundle.folder / thumbnail.FILE).is_file() else None
    read = read_all(reader, data, listed.rows, simple, finding, told, AT_ONCE_ON_GPU if gpu_present() else 1)
    if not read.rows and not read.refused and not read.problems and not listed.problems:
        raise IndexUnusable(f"{index_file.name} has no row of the part {split}")
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "bundle": bundle.label,
        "bundle_sha256": bundle.sha256,
        "bundles": {name: load_bundle(folder).sha256 for name, folder in folders.items()},
        "pipeline": bundle.name,
        "settings": OPENED,
        "finding": finding,
        "index": index_file.name,
        "index_sha256": hashlib.sha256(index_file.read_bytes()).hexdigest(),
        "split": split,
        "seen": _seen(split),
        "left_out": listed.left_out,
        "assumed": listed.assumed,
        "thumbnail": None if simple is None else {"rows": simple.rows},
        "images": figures.asked(read),
        "refusals": figures.refusals(read),
        "problems": [asdict(p) for p in sorted([*listed.problems, *read.problems], key=lambda p: p.line)],
        **{people: figures.figures(read, points, people) for people in figures.PEOPLE},
        "policy": policy,
        "pictures": [],
    }
    if points[policy]["feasible"]:
        views = result["adults"]["policies"][policy]["views"]
        chosen = overlays.choose(read, float(points[policy]["tau"]), None if views == "all" else views)
        result["pictures"] = overlays.write(reader, data, read, chosen, out)
    result["plots"] = _plots(read, result, out)
    text = as_json(result)
    (out / "metrics.json").write_text(text, encoding="utf-8")
    stored: dict[str, Any] = json.loads(text)  # the report tells what the file holds, no digit more
    (out / "report.md").write_text(report.report(stored), encoding="utf-8")
    return stored


def _pipeline_of(bundle: Bundle, decides: bool) -> ModuleType:
    """Return the pipeline that reads radiographs with the bundle; IndexUnusable says what measures another kind of bundle."""
    elsewhere = f"{bundle.label} cannot be judged on a list of radiographs: "
    if bundle.name not in known_kinds("pipeline") or not decides:
        raise IndexUnusable(elsewhere + "it decides nothing by itself. What its recipe measured stands in its card")
    pipeline = load_kind("pipeline", bundle.name)
    if not set(OPENED) <= set(pipeline.Settings.model_fields):
        raise IndexUnusable(elsewhere + "its pipeline reads series of CT. What its recipe measured stands in its card")
    return pipeline


def _seen(split: str) -> str:
    if split == "test":
        return ""
    if split == "all":
        return "Images of every part are counted, also those that a bundle made from this list has learned from."
    return f"The part {split} is no test: a bundle made from this list has learned from it, or was fitted on it."


def _plots(read: Read, result: Mapping[str, Any], out: Path) -> list[str]:
    """Write the SVG files and return their names."""
    drawn: dict[str, str] = {}
    for people in figures.PEOPLE:
        rows, p, simple = figures.chosen(read, people)
        for entry in result[people]["discrimination"]:
            if entry["auc"] is None or entry["view"]:
                continue
            mine = [n for n, row in enumerate(rows) if row.source == entry["source"]]
            scores = {f"bundle {entry['auc'][0]:.2f}": p[mine]}
            if entry["thumbnail_auc"] is not None:
                scores[f"thumbnail {entry['thumbnail_auc'][0]:.2f}"] = simple[mine]
            safe = re.sub(r"[^a-z0-9]+", "-", entry["source"].lower()).strip("-")[:40] or "source"
            name = f"roc-{people}-{safe}.svg"
            if name in drawn:
                name = f"roc-{people}-{safe}-{len(drawn)}.svg"
            drawn[name] = plots.roc(f"{entry['source']}, {people}", [rows[n].abnormal for n in mine], scores)
        calibrated = result[people]["calibration"]
        if calibrated is not None:
            drawn[f"reliability-{people}.svg"] = plots.calibration(f"Reliability, {people}", calibrated["reliability"])
        counts = {name: one["patients"] for name, one in result[people]["policies"].items() if one["feasible"]}
        if counts and result[people]["images"]:
            drawn[f"confusion-{people}.svg"] = plots.confusions(f"Patients, {people}", counts)
    for name, text in drawn.items():
        (out / name).write_text(text, encoding="utf-8")
    return sorted(drawn)


__all__ = ["IndexUnusable", "evaluate"]
