"""A bundle for the chest CT pipeline whose network is a few fixed numbers: bright slices are called positive."""

from __future__ import annotations

from pathlib import Path

import yaml

from models.bundle import write_manifest
from tests.unit.pipelines.test_ct_pima_ipn import SIZE, write_graph


def write_ct_bundle(folder: Path) -> Path:
    """Write ``ct_pima_ipn`` 99.0.0, marked synthetic, and return its folder."""
    folder.mkdir(parents=True)
    write_graph(folder / "model.onnx")
    point = {"finding": "pima", "feasible": True, "tau": 0.5, "tau_low": 0.3, "tau_high": 0.5, "views": ["axial"]}
    (folder / "operating_points.yaml").write_text(yaml.safe_dump({"policies": {"published": {**point, "guarantee": "none"}}}))
    output = {"key": "pima", "code": ["PIMA", "99PACSAI", "Pulmonary invasive mucinous adenocarcinoma"], "activation": "sigmoid"}
    manifest = {
        "name": "ct_pima_ipn",
        "version": "99.0.0",
        "task": "test",
        "intended_use": "test",
        "evidence": "demo",
        "synthetic": True,
        "preprocessing": {
            "window": {"level": -600, "width": 1500},
            "outside": "floor",
            "pixel_mm": 5.6,
            "slab_mm": 5.0,
            "size": SIZE,
            "normalise": {"mean": 0.0, "deviation": 1.0},
        },
        "outputs": [{**output, "assessed": True, "note": ""}],
        "saliency": "cam",
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    write_manifest(folder)
    return folder
