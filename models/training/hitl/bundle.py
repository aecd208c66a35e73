"""The bundle of the network that the rounds made: graph, weights, thresholds fitted on patients of their own, tables, card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.export import export_volume
from models.session import Session
from models.training.evaluate import predictive_values
from models.training.hitl.bundle_texts import ALWAYS, ASSUMED, FINDING, Source, outputs
from models.training.hitl.training import Volumes
from models.training.package import finish, save_reference, save_weights, software
from models.training.policy import Infeasible, lowered, threshold, threshold_high
from models.training.statistics import share
from models.zoo.ntm_cnn3d import FULL, NtmCnn3d

VERSION = "0.2.0"
DELTA = 0.05
Floats = NDArray[np.float64]


def operating_points(labels: NDArray[np.int64], p: Floats, names: Sequence[str], date: str, source: Source) -> dict[str, Any]:
    """Return ``operating_points.yaml``: sensitivity 0.90 and 0.97 with 95 % confidence on patients that nothing else used."""
    cohort = hashlib.sha256("\n".join(sorted(f"{n} {y}" for n, y in zip(names, labels, strict=True))).encode()).hexdigest()
    shared = {
        "finding": FINDING, "views": ["axial"], "population": source.population, "cohort_sha256": cohort, "date": date,
        "valid": f"this bundle only; it promises {source.proves}",
    }  # fmt: skip
    points = {name: _point(labels, p, alpha, source) for name, alpha in (("screening", 0.90), ("rule_out", 0.97))}
    return {"policies": {name: {**point, **shared} for name, point in points.items()}}


def _point(labels: NDArray[np.int64], p: Floats, alpha: float, source: Source) -> dict[str, Any]:
    ill, well = p[labels == 1], p[labels == 0]
    point: dict[str, Any] = {"kind": "sensitivity", "alpha": alpha, "delta": DELTA, "n": len(ill)}
    try:
        tau = lowered(threshold(ill, alpha, DELTA))
    except Infeasible as missing:
        reason = f"{len(ill)} patients with disease, {missing.n_needed} are needed for sensitivity {alpha:.2f}"
        nothing = {"tau": None, "tau_low": None, "tau_high": None}
        return {**point, **nothing, "feasible": False, "reason": reason, "guarantee": f"no valid guarantee: {reason}"}
    high = threshold_high(ill, well, tau, 0.80)
    return {
        **point,
        "feasible": True,
        "tau": tau,
        "tau_low": min(tau, lowered(float(ill.min()))),
        "tau_high": None if high is None else lowered(high),
        "tau_low_meaning": "the lowest score of any ill one of the sample; no guarantee of its own",
        "tau_high_meaning": "precision >= 0.80 (Clopper-Pearson lower bound) at the sample's half of ill ones",
        "guarantee": f"sensitivity >= {alpha:.2f} with 95 % confidence on {source.whom}, n={len(ill)}; {source.proves}",
        "at_prevalence": predictive_values(float((ill >= tau).mean()), float((well < tau).mean())),
    }


def on_test(points: Mapping[str, Any], cohorts: Mapping[str, tuple[NDArray[np.int64], Floats]]) -> dict[str, Any]:
    """Return sensitivity and specificity of each feasible policy on other patients, by cohort, with both intervals."""
    found: dict[str, Any] = {}
    for name, point in points["policies"].items():
        if not point["feasible"]:
            continue
        called = {cohort: p >= point["tau"] for cohort, (_, p) in cohorts.items()}
        found[name] = {
            "sensitivity": {c: _share(called[c][y == 1]) for c, (y, _) in cohorts.items()},
            "specificity": {c: _share(~called[c][y == 0]) for c, (y, _) in cohorts.items()},
        }
    return found


def write(
    folder: Path, net: NtmCnn3d, channels: tuple[int, int, int, int], preprocessing: Mapping[str, Any], learned: Volumes,
    temperature: float, points: Mapping[str, Any], metrics: Mapping[str, Any], worth: str, recipe: Mapping[str, Any],
    source: Source,
) -> Bundle:  # fmt: skip
    """Write every file of the bundle.

    ``recipe``: command, date, seed, epochs, split_sha256. ``learned``: what the network learned from; later scans are compared with
    it, and the graph is compared with torch on its first cases.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = learned.images[:4].astype(np.float32)[:, None]
    parity = export_volume(net, folder / "model.onnx", images, learned.clinical[:4])
    save_weights(net, folder)
    save_reference(folder, **_reference(folder, learned))
    depth, height, width = (int(n) for n in preprocessing["size"])
    manifest = {
        "name": "ct_ntm",
        "version": version_of(folder),
        "task": "How likely is disease by nontuberculous mycobacteria, on one chest CT of an adult with clinical data.",
        "intended_use": source.intended_use,
        "worth": worth,
        "evidence": "demo",
        "synthetic": source.synthetic,
        "twin": channels != FULL,
        "needs": [],
        "inputs": {
            "image": {
                "modality": ["CT"], "shape": ["n", 1, depth, height, width], "dtype": "float32",
                "unit": "HU over the window", "value_range": [0.0, 1.0],
            },
            "clinical": {"shape": ["n", 11], "dtype": "float32", "unit": "see pipelines/blocks/clinical.py"},
        },
        "preprocessing": dict(preprocessing),
        "outputs": outputs(source),
        "saliency": "cam",
        "saliency_outputs": {"Grad-CAM": "cam", "Grad-CAM++": "campp", "of": "logit", "values": "raw, not negative"},
        "parity_tolerance": 1e-4,
        "architecture": {
            "name": "ntm_cnn3d", "file": "models/zoo/ntm_cnn3d.py", "channels": list(channels),
            "parameters": sum(p.numel() for p in net.parameters()),
        },
        "limits": [*source.limits, *ALWAYS],
        "assumed": ASSUMED,
    }  # fmt: skip
    provenance = {
        "recipe": recipe["command"], "date": recipe["date"], "seed": recipe["seed"], "epochs": recipe["epochs"], "parity": parity,
        "sources": source.named,
        "split_sha256": recipe["split_sha256"], "parent": None, "feedback": source.feedback, "approved_by": None,
        "software": software(),
    }  # fmt: skip
    calibration = {
        "method": "temperature", "temperature": {FINDING: temperature}, "formula": "sigmoid(logit / temperature)",
        "fitted_on": "consensus cases of the validation part",
    }  # fmt: skip
    return finish(folder, manifest, metrics, provenance, points, calibration)


def version_of(folder: Path) -> str:
    """Return the version that the folder is named by, as bundles lie (``name/version``); else the first."""
    return folder.name if re.fullmatch(r"\d+\.\d+\.\d+", folder.name) else VERSION


def _reference(folder: Path, learned: Volumes) -> dict[str, NDArray[np.float64]]:
    """Return where the embeddings lie (mean, precision of the shrunk covariance) and the distance that one in 200 exceeds."""
    session = Session(folder / "model.onnx", threads=1, device="cpu")
    parts = []
    for n in range(0, len(learned.images), 16):
        image = learned.images[n : n + 16].astype(np.float32)[:, None]
        parts.append(session.run({"image": image, "clinical": learned.clinical[n : n + 16]})["embedding"])
    embeddings = np.concatenate(parts).astype(np.float64)
    centre, spread = embeddings.mean(0), np.cov(embeddings.T) + 1e-6 * np.eye(embeddings.shape[1])
    precision = np.linalg.inv(0.9 * spread + 0.1 * np.diag(np.diag(spread)))
    distances = np.sqrt(np.einsum("nk,kl,nl->n", embeddings - centre, precision, embeddings - centre))
    return {"embedding_mean": centre, "embedding_precision": precision, "distance_limit": np.array(np.quantile(distances, 0.995))}


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    return share(int(hits.sum()), len(hits)).told()
