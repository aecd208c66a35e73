"""Bundles and research sets made up for tests."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import yaml

from models.bundle import write_manifest


def write_bundle(folder: Path, name: str = "made_up", version: str = "1.0.0", **more: object) -> Path:
    """Write a bundle whose graph is a few bytes (nothing here runs it) and return its folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"not a graph, but bytes to be checked")
    points = {"policies": {"screening": {"finding": "abnormal", "tau": 0.25, "feasible": True}}}
    (folder / "operating_points.yaml").write_text(yaml.safe_dump(points))
    manifest = {
        "name": name,
        "version": version,
        "task": "none",
        "intended_use": "none",
        "evidence": "demo",
        "preprocessing": {"size": 8},
        "outputs": [],
        **more,
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    write_manifest(folder)
    return folder


def write_research_set(folder: Path, patients: int = 30, side: int = 96) -> Path:
    """Write a research set of drawn chests: two dark ovals, a blob where the label is not normal, one mask an image."""
    for name in ("images", "lung_masks"):
        (folder / name).mkdir(parents=True)
    rows = []
    yy, xx = np.mgrid[0:side, 0:side] / side
    lungs = (((xx - 0.3) / 0.14) ** 2 + ((yy - 0.5) / 0.32) ** 2 < 1) | (((xx - 0.7) / 0.14) ** 2 + ((yy - 0.5) / 0.32) ** 2 < 1)
    groups = [("north", "normal", "train"), ("north", "pneumonia", "train"), ("south", "tuberculosis", "train")]
    groups += [(source, label, part) for part in ("val", "test") for source, label, _ in groups[:3]]
    for group, (source, label, part) in enumerate(groups):
        for n in range(patients):
            rng = np.random.default_rng([group, n])
            image = np.where(lungs, 70.0, 180.0) + rng.normal(0, 6, (side, side))
            if label != "normal":
                image += 90 * np.exp(-(((xx - 0.3) / 0.08) ** 2 + ((yy - rng.uniform(0.35, 0.65)) / 0.08) ** 2)) * lungs
            key = f"{source}_{label}_{part}_{n}"
            cv2.imwrite(
                str(folder / "images" / f"{key}.png"), np.clip(cv2.GaussianBlur(image, (0, 0), 1.0), 0, 255).astype(np.uint8)
            )
            cv2.imwrite(str(folder / "lung_masks" / f"{key}.png"), (lungs * 255).astype(np.uint8))
            rows.append(
                {
                    "image_id": key,
                    "file": f"images/{key}.png",
                    "label": label,
                    "source": source,
                    "patient_id": key,
                    "view": "PA",
                    "split_group": part,
                    "licence": "made up",
                    "lung_mask_file": f"lung_masks/{key}.png",
                    "age": "50",
                }
            )
    with (folder / "index.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder
