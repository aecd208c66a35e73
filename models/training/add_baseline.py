"""Add the thumbnail baseline to a classifier bundle, and count its test figures anew, without training again.

``python -m models.training.add_baseline --bundle DIR --data DIR --out NEW_DIR --version 0.1.1``. The baseline is fitted on the rows
that the model itself learned from, by the recipe's own split; the figures at the thresholds come from the graph that ships.
Weights, thresholds and temperature are copied byte for byte; an index other than the one the bundle was made with is refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from models.bundle import MANIFEST, Bundle, load_bundle, write_manifest
from models.card import render
from models.session import Session
from models.training import thumbnail
from models.training.calibrate import sigmoid
from models.training.cxr.start import shipped_lungs
from models.training.data import Row, adult, index_hash, prepare_all, read_index, split_hash, thumbnails
from models.training.evaluate import at_threshold
from models.training.json_text import as_json
from models.training.lungs import find_lungs
from models.training.package import write_yaml

KEPT = ("model.onnx", "weights.safetensors", "reference.npz", "operating_points.yaml", "calibration.yaml")


def add_baseline(bundle: Bundle, data: Path, lungs: Path, out: Path, version: str) -> Bundle:
    """Write the bundle with its baseline into ``out`` (must not exist) and return it.

    Raises
    ------
    ValueError
        The index is not the one that the bundle was made with.
    """
    provenance = _yaml(bundle.folder / "provenance.yaml")
    adults = [row for row in read_index(data) if adult(row)]
    if provenance["data_index_sha256"] != index_hash(data) or provenance["split_sha256"] != split_hash(adults):
        raise ValueError("this is not the index that the bundle was made with: the training rows cannot be told")
    learn, test = ([row for row in adults if row.part == part] for part in ("train", "test"))
    fitted = thumbnail.fit(thumbnails(data, learn), [row.abnormal for row in learn])
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    probabilities = sigmoid(logits(bundle, data, lungs, test) / metrics["temperature"])
    metrics["policies_on_test"] = {}
    for name, point in bundle.operating_points().items():
        if point["feasible"]:
            seen = [n for n, row in enumerate(test) if row.view in point["views"]]
            metrics["policies_on_test"][name] = at_threshold([test[n] for n in seen], probabilities[seen], point["tau"])
    out.mkdir(parents=True)
    for name in KEPT:
        shutil.copyfile(bundle.folder / name, out / name)
    thumbnail.write(out, fitted, index_hash(data))
    (out / "metrics.json").write_text(as_json(metrics), encoding="utf-8")
    change = (
        f"{version}: the same weights, thresholds and temperature as {bundle.version}; the thumbnail baseline was added, "
        "and figures at the thresholds are counted in patients, by the graph."
    )
    write_yaml(out / "provenance.yaml", {**provenance, "changes": [*provenance.get("changes", []), change]})
    write_yaml(out / MANIFEST, {**bundle.config, "version": version, "files": {}})
    (out / "MODEL_CARD.md").write_text(render(out), encoding="utf-8")
    return write_manifest(out)


def logits(bundle: Bundle, data: Path, lungs: Path, rows: list[Row]) -> NDArray[np.float64]:
    """Return the ``abnormal`` logit of each image, by the graph that ships, prepared and cropped as in training."""
    config = dict(bundle.config["preprocessing"])
    mean, std = config.pop("mean"), config.pop("std")
    boxes, masks, _ = find_lungs(lungs, data, rows)
    images, _ = prepare_all(data, rows, config, boxes, masks)
    ready = ((images - mean) / std).astype(np.float32)[:, None]
    session = Session(bundle.model, threads=1, device="cpu")
    parts = [session.run({"image": ready[n : n + 16]})["logits"][:, 0] for n in range(0, len(ready), 16)]
    return np.concatenate(parts).astype(np.float64)


def _yaml(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="classifier bundle without a baseline")
    parser.add_argument("--data", type=Path, required=True, help="folder with the index.csv that the bundle was made with")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    parser.add_argument("--version", required=True, help="version of the new bundle")
    parser.add_argument("--lungs", type=Path, default=shipped_lungs(), help="lung bundle that crops")
    options = parser.parse_args()
    made = add_baseline(load_bundle(options.bundle), options.data, options.lungs, options.out, options.version)
    print(f"{made.label}  sha256: {made.sha256}")


if __name__ == "__main__":
    main()
