"""What a chest radiograph bundle was made of, for its ``provenance.yaml``: images, lungs, the weights it started from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.bundle import load_bundle
from models.training.data import Row, index_hash, licences, split_hash
from models.training.package import SOURCES, file_hash, software


def made_of(rows: Sequence[Row], data: Path, lungs: Path, weights: Path | None) -> dict[str, Any]:
    """Return sources, licences and hashes. ``weights``: what training started from; ``None``: from nothing."""
    start = {"title": "EfficientNet-Lite0, ImageNet", "licence": "Apache-2.0", "sha256": file_hash(weights)} if weights else None
    return {
        "sources": {name: SOURCES[name] for name in sorted({row.source for row in rows}) if name in SOURCES},
        "image_licences": licences(rows),
        "weights_licence": "non-commercial, share-alike, as the strictest of the images",
        "starting_weights": start,
        "lungs": load_bundle(lungs).label,
        "lungs_manifest_sha256": file_hash(lungs / "bundle.yaml"),
        "data_index_sha256": index_hash(data),
        "split_sha256": split_hash(rows),
        "parent": None,
        "feedback": None,
        "approved_by": None,
        "software": software(),
    }
