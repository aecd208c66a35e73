"""Write a bundle's folder: manifest, provenance, tables, card. No figure is typed by hand and nothing reads the clock."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.torch import save_file
from torch import nn

from models.bundle import MANIFEST, Bundle, load_bundle, write_manifest
from models.card import render
from models.training.json_text import as_json, plain

SOURCES: dict[str, dict[str, str]] = {
    "nih_cxr14": {
        "title": "NIH ChestX-ray14, NIH Clinical Center",
        "licence": "unrestricted use with attribution (NIH)",
        "cite": "Wang et al., ChestX-ray8, CVPR 2017; https://nihcc.app.box.com/v/ChestXray-NIHCC",
    },
    "kermany_pediatric": {
        "title": "Chest X-ray images of children, Guangzhou (Mendeley Data rscbjbr9sj v2)",
        "licence": "CC BY 4.0",
        "cite": "Kermany, Zhang, Goldbaum et al., Cell 2018",
    },
    "ieee8023_covid": {
        "title": "COVID-19 image data collection",
        "licence": "per image, in part CC BY-NC-SA: treat the weights as non-commercial, share-alike",
        "cite": "Cohen et al., arXiv:2003.11597 and arXiv:2006.11988",
    },
    "tbx11k": {"title": "TBX11K", "licence": "CC BY 4.0", "cite": "Liu et al., CVPR 2020 and TPAMI 2023"},
    "luna16": {
        "title": "LUNA16 candidate patches (LIDC-IDRI)",
        "licence": "CC BY 4.0 (LUNA16), CC BY 3.0 (LIDC-IDRI)",
        "cite": "Setio et al., Medical Image Analysis 2017; Armato et al., Medical Physics 2011",
    },
    "v7_masks": {
        "title": "V7 Labs COVID-19 X-ray dataset, lung masks",
        "licence": "CC BY 4.0",
        "cite": "https://github.com/v7labs/covid-19-xray-dataset",
    },
}


def save_weights(net: nn.Module, folder: Path) -> None:
    """Write ``weights.safetensors``: the same weights as the graph's, for retraining and for checking the graph."""
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in sorted(net.state_dict().items())}, str(path))
    path.chmod(0o644)  # safetensors writes for the owner only; a bundle is for whoever runs the node


def save_reference(folder: Path, **arrays: Any) -> None:
    """Write ``reference.npz`` (no objects): what later images are compared with."""
    np.savez_compressed(folder / "reference.npz", **arrays)


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as YAML in their own order."""
    path.write_text(yaml.safe_dump(plain(content), sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def finish(
    folder: Path,
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    operating_points: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write every text of the bundle, the card from them, the manifest last, and return the verified bundle."""
    (folder / "metrics.json").write_text(as_json(metrics), encoding="utf-8")
    if operating_points is not None:
        write_yaml(folder / "operating_points.yaml", operating_points)
    if calibration is not None:
        write_yaml(folder / "calibration.yaml", calibration)
    write_yaml(folder / "provenance.yaml", provenance)
    write_yaml(folder / MANIFEST, {**manifest, "files": {}})
    (folder / "MODEL_CARD.md").write_text(render(folder), encoding="utf-8")
    write_manifest(folder)
    return load_bundle(folder)


def software() -> dict[str, str]:
    """Return the versions that shaped the weights."""
    return {name: importlib.metadata.version(name) for name in ("torch", "monai", "onnx", "numpy", "opencv-python-headless")}


def file_hash(path: Path) -> str:
    """Return the SHA-256 of one file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
